import type { Clock } from "../clock.ts";
import type { Logger } from "../logger.ts";

/** Why a frame was thrown away (I9). Nothing that is dropped is answered. */
export const dropCauses = {
  frames: "wrong number of frames, or a frame of another length than its head says",
  oversize: "the head is larger than any head may be",
  undecodable: "the head is not msgpack, or nests too deep, or is not a map",
  version: "the head is of a wire version that is not spoken here",
  kind: "the head is of a kind that nobody sends to this side",
  schema: "the head does not fit the schema of its kind",
  session: "the frame is of another session than the one that is open, or of none",
  task: "the result names no task that is out: a forgery, a duplicate, or one that came too late",
  mismatch: "the result echoes another mail, kind, SHA-256 or settings than were asked for (I4)",
  late: "the result is of a task that had been given up",
  credit: "the task is beyond the credit that was granted",
  sequence: "the task has a sequence number that was seen before",
  unprotected: "the mailbox that is advertised lies beyond what the bus is protected for",
  unlisted: "the key that a `ready` names is not listed for the kind that it wants to play",
  full: "there are as many sessions as there may be",
} as const;

export type DropCause = keyof typeof dropCauses;
export type DropCounts = Record<DropCause, number>;

/** What a session's end leaves behind: counted, but nothing to look into. */
const expected: readonly DropCause[] = ["session", "late"];

/** Each cause is logged at most this often. */
const logEveryMs = 60_000;

/** Counts dropped frames by cause, and tells the log about each cause at most once per minute. */
export class DropCounter {
  readonly #counts = Object.fromEntries(
    Object.keys(dropCauses).map((cause) => [cause, 0]),
  ) as DropCounts;
  readonly #loggedAtMs = new Map<DropCause, number>();
  readonly #clock: Clock;
  readonly #log: Logger;

  constructor(clock: Clock, log: Logger) {
    this.#clock = clock;
    this.#log = log;
  }

  count(cause: DropCause): void {
    this.#counts[cause] += 1;
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - (this.#loggedAtMs.get(cause) ?? -Infinity) < logEveryMs) return;
    this.#loggedAtMs.set(cause, nowMs);
    const level = expected.includes(cause) ? "debug" : "warn";
    const dropped = this.#counts[cause];
    this.#log[level]({ cause, meaning: dropCauses[cause], dropped }, "frame dropped");
  }

  /** Frames dropped since the start, by cause. */
  snapshot(): DropCounts {
    return { ...this.#counts };
  }
}
