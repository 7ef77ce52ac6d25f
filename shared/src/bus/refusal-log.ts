import { LRUCache } from "lru-cache";
import type { Clock } from "../clock.ts";
import type { Logger } from "../logger.ts";

/** The same refusal is logged at most this often. */
const againMs = 60_000;
/** All refusals together get at most this many lines in that time. */
const linesPerTime = 20;
/** Refusals that are remembered: a peer that comes with a new key each time costs no memory. */
const remembered = 500;

/** Tells the log who is refused, and counts: endless attempts fill neither log nor memory. */
export class RefusalLog {
  readonly #clock: Clock;
  readonly #log: Logger;
  readonly #toldAtMs = new LRUCache<string, number>({ max: remembered });
  #count = 0;
  #windowStartMs = -Infinity;
  #lines = 0;

  constructor(clock: Clock, log: Logger) {
    this.#clock = clock;
    this.#log = log;
  }

  /** Refusals since the start, logged or not. */
  get count(): number {
    return this.#count;
  }

  /** `what` names the refusal: the same one is not logged again for a minute. */
  tell(what: string, fields: Record<string, unknown>, message: string): void {
    this.#count += 1;
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - (this.#toldAtMs.get(what) ?? -Infinity) < againMs) return;
    if (nowMs - this.#windowStartMs >= againMs) {
      this.#windowStartMs = nowMs;
      this.#lines = 0;
    }
    if (this.#lines >= linesPerTime) return;
    this.#lines += 1;
    this.#toldAtMs.set(what, nowMs);
    this.#log.warn({ ...fields, refusals: this.#count }, message);
  }
}
