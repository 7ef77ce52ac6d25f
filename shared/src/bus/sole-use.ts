import type { HeartbeatHead } from "./wire.ts";

/** A worker is kept for a task this long after that was tried last. */
const keptMs = 5_000;

/**
 * The dispatcher's half of having a worker to itself, for one task that tolerates no other beside it.
 * It asks in its heartbeats as long as the task waits, and acknowledges the worker's heartbeats by
 * their number, so that the worker knows when the others have seen that they have no credit.
 */
export class SoleUse {
  readonly #nowMs: () => number;
  #keptUntilMs = -Infinity;
  #isGranted = false;
  /** 0 from the first heartbeat on: one that says nothing is of an older release. */
  #heard = 0;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Such a task waits for this worker. */
  get isWanted(): boolean {
    return this.#nowMs() < this.#keptUntilMs;
  }

  /** Nobody else's task is at the worker, or can come. */
  get isGranted(): boolean {
    return this.#isGranted;
  }

  /** True: it was not wanted before. The dispatcher with the task asks again, or has gone. */
  want(): boolean {
    const isNew = !this.isWanted;
    this.#keptUntilMs = this.#nowMs() + keptMs;
    return isNew;
  }

  /** A task is placed: what was granted was for one. */
  use(): void {
    this.#keptUntilMs = -Infinity;
    this.#isGranted = false;
  }

  /**
   * A heartbeat of the worker, which has seen all that was sent, or not. One that does not number its
   * heartbeats knows nothing of this: there it is enough to have no task there oneself.
   */
  update({ beat, sole }: HeartbeatHead, hasSeenAll: boolean): void {
    this.#heard = beat ?? 0;
    this.#isGranted = beat === undefined || (sole === true && hasSeenAll);
  }

  /** For the dispatcher's next heartbeat. */
  get words() {
    return {
      heard: this.#heard,
      ...(this.isWanted ? { wantsSole: true } : {}),
    };
  }
}
