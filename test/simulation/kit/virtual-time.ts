import { setImmediate as nextTurn } from "node:timers";
import type { Clock } from "@rs-agent/shared/clock.ts";
import type { Random } from "./random.ts";

/** Something that will happen. */
export interface Planned {
  atMs: number;
  order: number;
  owner: VirtualProcess | undefined;
  run: () => void;
  cancelled: boolean;
}

/** The wall clock at the beginning of every schedule. */
const epochMs = Date.UTC(2026, 5, 1, 10);

const nextTick = process.nextTick.bind(process);

/**
 * How often the real event loop gets a turn: rarely, but often enough to see unhandled rejections.
 */
const eventsPerTurn = 500;

export type Sort = "dispatcher" | "relay" | "worker" | "ingest" | "person";

/**
 * One process of the simulated system. Its events run one after the other, as on an event loop; a
 * paused process runs nothing until it goes on, a killed one never again.
 */
export class VirtualProcess {
  readonly name: string;
  readonly sort: Sort;
  readonly time: VirtualTime;
  readonly random: Random;
  alive = true;
  pausedUntilMs = 0;
  /** What came while it stood still. */
  readonly held: Planned[] = [];
  /** No request to the database arrives there before this. */
  cutOffUntilMs = 0;
  /** How many of its own seconds pass in a true second. */
  readonly rate: number;
  readonly #monotonicBaseMs: number;
  /** How far the host's wall clock is from true time; may jump. */
  wallSkewMs: number;
  /** What it runs, once that has started. */
  handle: { drain(signal: AbortSignal): Promise<void> } | undefined;
  readonly #onEnd: (() => void)[] = [];

  constructor(time: VirtualTime, name: string, sort: Sort, random: Random) {
    this.time = time;
    this.name = name;
    this.sort = sort;
    this.random = random;
    this.rate = 1 + random.between(-0.0005, 0.0005);
    this.#monotonicBaseMs = random.between(1, 1e7);
    this.wallSkewMs = random.between(-60_000, 60_000);
  }

  readonly clock: Clock = {
    now: () => new Date(epochMs + this.time.nowMs + this.wallSkewMs),
    monotonicMs: () => this.#monotonicBaseMs + this.time.nowMs * this.rate,
  };

  /** The true milliseconds at which the monotonic clock shows this. */
  trueMs(monotonicMs: number): number {
    return (monotonicMs - this.#monotonicBaseMs) / this.rate;
  }

  onEnd(listener: () => void): void {
    this.#onEnd.push(listener);
  }

  /** Like `kill -9`, or the exit after a drain: what it had in memory is gone. */
  end(): void {
    if (!this.alive) return;
    this.alive = false;
    for (const listener of this.#onEnd) listener();
  }

  /** Like SIGSTOP, and later SIGCONT: what comes meanwhile waits in order. */
  pauseFor(ms: number): void {
    this.pausedUntilMs = Math.max(this.pausedUntilMs, this.time.nowMs + ms);
    this.time.at(this.pausedUntilMs, undefined, () => {
      if (this.pausedUntilMs <= this.time.nowMs) this.goOn();
    });
  }

  goOn(): void {
    this.pausedUntilMs = 0;
    for (const event of this.held.splice(0)) this.time.put(event);
  }
}

/**
 * The clock and the order of everything. One event runs at a time, to its end and with every
 * promise that it settles; no real time passes in between. The same events in give the same order
 * out.
 */
export class VirtualTime {
  nowMs = 0;
  /** The process whose event runs: timers that are set now are its own. */
  current: VirtualProcess | undefined;
  events = 0;
  /** Changes with every event and its order: two runs of one seed must agree. */
  fingerprint = 0;
  /**
   * Gives the real event loop a turn after each event: slower, but a rejection shows its culprit.
   */
  careful = false;
  readonly #heap: Planned[] = [];
  #order = 0;

  /** The true date: what a perfect clock shows. */
  date(): Date {
    return new Date(epochMs + this.nowMs);
  }

  at(atMs: number, owner: VirtualProcess | undefined, run: () => void): Planned {
    const event = {
      atMs: Math.max(atMs, this.nowMs),
      order: this.#order++,
      owner,
      run,
      cancelled: false,
    };
    this.#push(event);
    return event;
  }

  after(delayMs: number, owner: VirtualProcess | undefined, run: () => void): Planned {
    return this.at(this.nowMs + delayMs, owner, run);
  }

  /** Puts back an event that had to wait: it keeps its place among those of the same moment. */
  put(event: Planned): void {
    event.atMs = this.nowMs;
    this.#push(event);
  }

  /** Runs events until `isOver`, until none is left, or until the time is over. */
  async run(isOver: () => boolean, untilMs: number): Promise<void> {
    while (!isOver()) {
      const event = this.#next();
      if (event === undefined || event.atMs > untilMs) return;
      this.nowMs = event.atMs;
      this.current = event.owner;
      this.events += 1;
      this.fingerprint =
        (Math.imul(this.fingerprint ^ (event.order + 1), 0x01000193) + (event.atMs | 0)) | 0;
      event.run();
      // Streams chain ticks and promises: only a turn of the real loop is sure to end them.
      const deep = this.careful || event.owner?.sort === "relay";
      await (deep || this.events % eventsPerTurn === 0 ? turn() : settled());
      this.current = undefined;
    }
  }

  /** The next event that may run. Those of a paused process wait, in order, until it goes on. */
  #next(): Planned | undefined {
    for (let event = this.#pop(); event !== undefined; event = this.#pop()) {
      const { owner } = event;
      if (event.cancelled || owner?.alive === false) continue;
      if (owner === undefined || owner.pausedUntilMs <= event.atMs) return event;
      owner.held.push(event);
    }
    return undefined;
  }

  #push(event: Planned): void {
    const heap = this.#heap;
    let place = heap.length;
    heap.push(event);
    while (place > 0) {
      const parent = (place - 1) >> 1;
      const above = heap[parent] as Planned;
      if (!isBefore(event, above)) break;
      heap[place] = above;
      place = parent;
    }
    heap[place] = event;
  }

  #pop(): Planned | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let place = 0;
    for (;;) {
      let child = 2 * place + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && isBefore(heap[child + 1] as Planned, heap[child] as Planned)) {
        child += 1;
      }
      if (!isBefore(heap[child] as Planned, last)) break;
      heap[place] = heap[child] as Planned;
      place = child;
    }
    heap[place] = last;
    return first;
  }
}

function isBefore(a: Planned, b: Planned): boolean {
  return a.atMs < b.atMs || (a.atMs === b.atMs && a.order < b.order);
}

/** Resolves when every promise that can settle has done so: a tick runs after all of them. */
function settled(): Promise<void> {
  return new Promise((resolve) => nextTick(resolve));
}

function turn(): Promise<void> {
  return new Promise((resolve) => nextTurn(resolve));
}
