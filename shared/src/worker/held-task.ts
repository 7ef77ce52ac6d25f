import type { TaskHead } from "../bus/wire.ts";
import type { Logger } from "../logger.ts";
import type { TaskContext } from "./handler.ts";

/** A task that a worker has and has not answered. */
export class HeldTask implements TaskContext {
  readonly head: TaskHead;
  readonly body: Buffer | undefined;
  /** The session that it came in; its answer goes nowhere else. */
  readonly sessionId: string;
  readonly arrivedAtMs: number;
  readonly deadlineAtMs: number;
  beganAtMs: number | undefined;
  answered = false;
  readonly announceBusy: (ms: number) => Promise<void>;
  readonly #log: Logger;
  #controller: AbortController | undefined;
  #abortReason: Error | undefined;

  constructor(task: {
    head: TaskHead;
    body: Buffer | undefined;
    arrivedAtMs: number;
    log: Logger;
    announceBusy: (ms: number) => Promise<void>;
  }) {
    this.head = task.head;
    this.body = task.body;
    this.sessionId = task.head.session;
    this.arrivedAtMs = task.arrivedAtMs;
    this.deadlineAtMs = task.arrivedAtMs + task.head.deadlineMs;
    this.#log = task.log;
    this.announceBusy = task.announceBusy;
  }

  /** Made when first asked for: most handlers of small tasks never do. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#abortReason !== undefined) this.#controller.abort(this.#abortReason);
    }
    return this.#controller.signal;
  }

  get log(): Logger {
    const { mailId, task, attempt, taskId } = this.head;
    return this.#log.child({ mailId, task, attempt, taskId });
  }

  /** The first reason counts. */
  abort(reason: Error): void {
    if (this.#abortReason !== undefined) return;
    this.#abortReason = reason;
    this.#controller?.abort(reason);
  }
}
