import type { Clock } from "../clock.ts";
import { RetryableError, RsError, messageOf, type ErrorCode } from "../errors.ts";
import type { TaskHandler, TaskMail, TaskOutput } from "./handler.ts";
import type { HeldTask } from "./held-task.ts";

/** With this many tasks waiting for an idle handler, work begins before the turn of the loop ends. */
const eagerTasks = 16;

/** The one answer of a task. */
export type Answer = TaskOutput | { output: { kind: "failed"; code: string; detail: string } };

export interface TaskRunnerDeps {
  handler: TaskHandler;
  clock: Clock;
  /** How long after its deadline a task is answered for a handler that does not end. */
  graceMs: number;
  /** Where the raw mail of a task without a body is. */
  openSpooled: (task: HeldTask) => Promise<TaskMail>;
  /** Work on these, all of one session, begins once this settles: their dispatcher is told. */
  onBegin: (tasks: readonly HeldTask[]) => Promise<void>;
  onAnswer: (task: HeldTask, answer: Answer) => void;
  /** Called when nothing is queued or running any more. */
  onIdle: () => void;
}

/**
 * Gives tasks to the handler in the order of their arrival, at most `concurrency()` at once and never
 * two of one mail, and sees to it that each is answered exactly once, or silently dropped.
 */
export class TaskRunner {
  readonly #deps: TaskRunnerDeps;
  #queue: HeldTask[] = [];
  readonly #running = new Set<HeldTask>();
  #pumpWaits = false;

  constructor(deps: TaskRunnerDeps) {
    this.#deps = deps;
  }

  get idle(): boolean {
    return this.#queue.length === 0 && this.#running.size === 0;
  }

  /** Tasks that nobody awaits any more and that the handler does not end: each takes up a place. */
  get overdue(): number {
    let count = 0;
    for (const task of this.#running) if (task.answered) count += 1;
    return count;
  }

  /** Tasks that are awaited, started or not. */
  get atWork(): number {
    return this.#queue.length + this.#running.size - this.overdue;
  }

  add(task: HeldTask): void {
    this.#queue.push(task);
    if (this.#queue.length >= eagerTasks && this.#running.size === 0) this.#pump();
    else this.#pumpSoon();
  }

  /** Stops work on a task and answers it. */
  cancel(task: HeldTask): void {
    this.#giveUp(task, "BUS_CANCELLED", "cancelled by the dispatcher");
  }

  /** Forgets a task: nobody awaits its answer any more. */
  drop(task: HeldTask): void {
    task.answered = true;
    task.abort(new RetryableError("BUS_CANCELLED", "the session has ended"));
    this.#queue = this.#queue.filter((queued) => queued !== task);
  }

  /** Aborts what is past its deadline; answers it if the handler does not. */
  sweep(nowMs: number): void {
    for (const task of this.#running) {
      if (nowMs < task.deadlineAtMs) continue;
      task.abort(new RetryableError("BUS_DEADLINE", "the task's deadline has passed"));
      if (nowMs >= task.deadlineAtMs + this.#deps.graceMs) {
        this.#giveUp(task, "BUS_DEADLINE", "the handler did not end within the deadline");
      }
    }
    for (const task of this.#queue.filter((queued) => nowMs >= queued.deadlineAtMs)) {
      this.#giveUp(task, "BUS_DEADLINE", "the deadline passed before the work could begin");
    }
    // The handler's places may have become more, or none, with nothing having ended here.
    if (this.#queue.length > 0) this.#pumpSoon();
  }

  #giveUp(task: HeldTask, code: ErrorCode, detail: string): void {
    task.abort(new RetryableError(code, detail));
    this.#queue = this.#queue.filter((queued) => queued !== task);
    this.#answer(task, { output: { kind: "failed", code, detail } });
  }

  #answer(task: HeldTask, answer: Answer): void {
    if (task.answered) return;
    task.answered = true;
    this.#deps.onAnswer(task, answer);
  }

  /** In a later turn, so that what came in one turn begins together, and is told in one frame. */
  #pumpSoon(): void {
    if (this.#pumpWaits) return;
    this.#pumpWaits = true;
    setImmediate(() => {
      this.#pumpWaits = false;
      this.#pump();
    });
  }

  #pump(): void {
    const begun = this.#takeNext();
    if (begun.length === 0) {
      if (this.idle) this.#deps.onIdle();
      return;
    }
    for (const task of begun) this.#running.add(task);
    for (const [, tasks] of Map.groupBy(begun, (task) => task.sessionId)) void this.#begin(tasks);
  }

  /** `started` is out before the first line of a handler runs: it may block, or kill, this process. */
  async #begin(tasks: readonly HeldTask[]): Promise<void> {
    await this.#deps.onBegin(tasks);
    for (const task of tasks) void this.#work(task);
  }

  #takeNext(): HeldTask[] {
    // If no engine is able the handler says so immediately: what is here must not wait for its deadline.
    const atOnce = this.#deps.handler.concurrency() || Infinity;
    const limit = atOnce - this.#running.size;
    const mails = new Set([...this.#running].map(({ head }) => head.mailId));
    const taken: HeldTask[] = [];
    const refused: HeldTask[] = [];
    for (const task of this.#queue) {
      if (taken.length >= limit || !this.#mayJoin(task, taken)) break;
      if (mails.has(task.head.mailId)) refused.push(task);
      else taken.push(task);
      mails.add(task.head.mailId);
    }
    this.#queue.splice(0, taken.length + refused.length);
    // Another dispatcher has claimed a mail whose last claim's task has not yet ended here. It must
    // not wait here: the one at work may hang.
    for (const task of refused)
      this.#giveUp(task, "BUS_MAIL_BUSY", "at work on it for another claim");
    return taken;
  }

  #mayJoin(task: HeldTask, taken: readonly HeldTask[]): boolean {
    if (this.#running.size === 0 && taken.length === 0) return true;
    if (task.head.alone === true) return false;
    const [first] = this.#running;
    return first?.head.alone !== true && taken[0]?.head.alone !== true;
  }

  async #work(task: HeldTask): Promise<void> {
    const { handler, clock } = this.#deps;
    if (task.answered) {
      this.#end(task);
      return;
    }
    task.beganAtMs = clock.monotonicMs();
    let answer: Answer;
    try {
      const mail: TaskMail =
        task.body === undefined
          ? await this.#deps.openSpooled(task)
          : { kind: "bytes", bytes: task.body };
      answer = await handler.handle(task.head, mail, task);
    } catch (error) {
      answer = { output: failureOf(error) };
    }
    this.#answer(task, answer);
    this.#end(task);
  }

  #end(task: HeldTask): void {
    this.#running.delete(task);
    this.#pumpSoon();
  }
}

function failureOf(error: unknown): { kind: "failed"; code: string; detail: string } {
  const code = error instanceof RsError ? error.code : "WORKER_HANDLER_FAILED";
  return { kind: "failed", code, detail: messageOf(error).slice(0, 1_000) };
}
