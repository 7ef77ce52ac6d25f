import { setTimeout as wait } from "node:timers/promises";
import type { FloodMail } from "../mails/composer.ts";
import type { Lane, Sender, SendOutcome } from "./sender.ts";

/** A mail and when it should have been sent, by the monotonic clock. */
export interface Intended {
  number: number;
  atMs: number;
}

export interface LanesOptions {
  sender: Sender;
  /** The most connections; each is opened when it is needed. */
  lanes: number;
  /** How many mails may wait for a free connection. */
  maxWaiting: number;
  mail: (number: number) => FloodMail;
  bytes: (mail: FloodMail) => Promise<Buffer> | Buffer;
  onSent: (intended: Intended, bytes: number) => void;
  onOutcome: (intended: Intended, outcome: SendOutcome) => void;
  /** A mail found every connection busy and the waiting room full. */
  onCrowdedOut: (intended: Intended) => void;
}

/** A lane does not ask a server that is down again immediately. */
const afterFailureMs = 100;

/**
 * Connections, and the room in which mails wait for one in the order in which they were due. The
 * room has a limit, so that a stalled server does not cost memory without end: a mail that finds it
 * full is counted and never sent.
 */
export class Lanes {
  readonly #options: LanesOptions;
  readonly #idle: Lane[] = [];
  readonly #all: Lane[] = [];
  #waiting: Intended[] = [];
  /** How much of `#waiting` is already gone. */
  #head = 0;
  #busy = 0;
  #changed = Promise.withResolvers<void>();
  /** A bug, or a corpus that is gone. */
  #error: { cause: unknown } | undefined;

  constructor(options: LanesOptions) {
    this.#options = options;
  }

  get waiting(): number {
    return this.#waiting.length - this.#head;
  }

  get busy(): number {
    return this.#busy;
  }

  get hasFreeLane(): boolean {
    return this.#busy < this.#options.lanes;
  }

  offer(intended: Intended): void {
    if (this.hasFreeLane) this.#begin(intended);
    else if (this.waiting < this.#options.maxWaiting) this.#waiting.push(intended);
    else this.#options.onCrowdedOut(intended);
  }

  /**
   * Settles when a connection has become free, or nothing is under way.
   * @throws what broke a lane
   */
  async change(): Promise<void> {
    if (this.#busy > 0) await this.#changed.promise;
    this.#throwIfBroken();
  }

  /**
   * Settles when nothing waits and nothing is under way.
   * @throws what broke a lane
   */
  async settled(): Promise<void> {
    while (this.#busy > 0) await this.#changed.promise;
    this.#throwIfBroken();
  }

  /** Waiting mails are no longer sent. */
  giveUpWaiting(): void {
    const left = this.#waiting.slice(this.#head);
    this.#waiting = [];
    this.#head = 0;
    for (const intended of left) this.#options.onCrowdedOut(intended);
  }

  /** Mails that are under way end with a broken connection. */
  close(): void {
    for (const lane of this.#all) lane.close();
  }

  #throwIfBroken(): void {
    if (this.#error === undefined) return;
    const { cause } = this.#error;
    throw cause instanceof Error ? cause : new Error("a connection broke", { cause });
  }

  #begin(intended: Intended): void {
    this.#busy += 1;
    const lane = this.#idle.pop() ?? this.#open();
    void this.#work(lane, intended);
  }

  #open(): Lane {
    const lane = this.#options.sender.openLane();
    this.#all.push(lane);
    return lane;
  }

  async #work(lane: Lane, first: Intended): Promise<void> {
    try {
      for (let intended: Intended | undefined = first; intended !== undefined;) {
        await this.#send(lane, intended);
        intended = this.#next();
      }
    } catch (error) {
      this.#error ??= { cause: error };
    }
    this.#busy -= 1;
    this.#idle.push(lane);
    this.#tell();
  }

  async #send(lane: Lane, intended: Intended): Promise<void> {
    const { mail, bytes, onSent, onOutcome } = this.#options;
    const flood = mail(intended.number);
    const raw = await bytes(flood);
    onSent(intended, raw.length);
    const outcome = await lane.send(flood, raw);
    onOutcome(intended, outcome);
    if (outcome.kind === "failed") await wait(afterFailureMs);
  }

  #next(): Intended | undefined {
    const next = this.#waiting[this.#head];
    if (next === undefined) return undefined;
    this.#head += 1;
    if (this.#head > 1_024 && this.#head * 2 > this.#waiting.length) {
      this.#waiting = this.#waiting.slice(this.#head);
      this.#head = 0;
    }
    return next;
  }

  #tell(): void {
    const { resolve } = this.#changed;
    this.#changed = Promise.withResolvers<void>();
    resolve();
  }
}
