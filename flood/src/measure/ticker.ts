import type { Parts } from "../parts.ts";
import type { Second } from "./timeline.ts";

/** How a run stands at the end of a second. */
export interface Standing extends Second {
  oldestMs: number | undefined;
  /** Everything so far that was not a yes. */
  allErrors: number;
  /** How long the database has not answered; undefined if it answers, or nobody asks one. */
  awayMs: number | undefined;
  /** Whether a sink or a database sees mails come out. */
  seesOut: boolean;
}

/** Closes each second of the timeline when it is over, and reports it. */
export class Ticker {
  readonly #parts: Parts;
  readonly #onSecond: (standing: Standing) => void;
  readonly #begunMs = performance.now();
  #timer: NodeJS.Timeout | undefined;
  #seconds = 0;
  #out = 0;
  #errors = 0;

  constructor(parts: Parts, onSecond: (standing: Standing) => void) {
    this.#parts = parts;
    this.#onSecond = onSecond;
    this.#next();
  }

  /** What happened since the last whole second still counts. */
  stop(): void {
    if (this.#timer === undefined) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#close();
  }

  #next(): void {
    this.#seconds += 1;
    const dueMs = this.#begunMs + this.#seconds * 1_000;
    this.#timer = setTimeout(
      () => {
        this.#onSecond(this.#close());
        this.#next();
      },
      Math.max(0, dueMs - performance.now()),
    );
  }

  #close(): Standing {
    const { tally, sink, system, lanes } = this.#parts;
    if (sink === undefined && system !== undefined) this.#countOut(system.waiting);
    const inFlight = sink === undefined ? (system?.waiting ?? 0) : tally.awaited;
    const second = tally.timeline.close({ inFlight, waiting: lanes.waiting });
    this.#errors += second.errors;
    return {
      ...second,
      oldestMs:
        sink === undefined ? system?.oldestMs(new Date()) : tally.oldestMs(performance.now()),
      allErrors: this.#errors,
      awayMs:
        system?.awaySinceMs === undefined ? undefined : performance.now() - system.awaySinceMs,
      seesOut: sink !== undefined || system !== undefined,
    };
  }

  /** Without a sink: a mail that was accepted and no longer waits is out. */
  #countOut(waiting: number): void {
    const { tally } = this.#parts;
    const out = Math.max(this.#out, tally.handedIn.accepted - waiting);
    tally.timeline.count("delivered", out - this.#out);
    this.#out = out;
  }
}
