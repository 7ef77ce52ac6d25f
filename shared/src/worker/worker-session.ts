import type { Credit, HeartbeatHead, TaskHead } from "../bus/wire.ts";
import type { DropCause } from "../bus/drop-counter.ts";
import type { HeldTask } from "./held-task.ts";

/** A dispatcher that has sent something this lately shares the credit fully. */
const busyMs = 2_000;

/** The worker's half of a session: what was granted, what came, what is answered. */
export class WorkerSession {
  readonly id: string;
  readonly version: number;
  readonly dispatcherId: string;
  readonly dispatcherIncarnation: string;
  grant: Credit = { tasks: 0, bytes: 0 };
  /** The dispatcher sends nothing new any more. */
  peerBye = false;
  lastSeen = 0;
  lastHeardMs: number;
  /** Epoch milliseconds until which this process said that it would be silent. */
  busyUntil = 0;
  /** By sequence number, ascending. */
  readonly #tasks = new Map<number, HeldTask>();
  readonly #byId = new Map<string, HeldTask>();
  #bytes = 0;
  /** The largest grant of this session: a smaller one may still be on its way to the dispatcher. */
  readonly #limit: Credit = { tasks: 0, bytes: 0 };
  #lastTaskMs = -Infinity;

  constructor(opening: HeartbeatHead, nowMs: number) {
    this.id = opening.session;
    this.version = opening.v;
    this.dispatcherId = opening.from;
    this.dispatcherIncarnation = opening.incarnation;
    this.lastHeardMs = nowMs;
  }

  /** The highest sequence number up to which every task is answered or never came. */
  get lastDone(): number {
    for (const sequence of this.#tasks.keys()) return sequence - 1;
    return this.lastSeen;
  }

  get tasks(): Iterable<HeldTask> {
    return this.#tasks.values();
  }

  /** Everything that came is answered, and nothing more comes. */
  get finished(): boolean {
    return this.peerBye && this.#tasks.size === 0;
  }

  heard(nowMs: number): void {
    this.lastHeardMs = nowMs;
  }

  isBusy(nowMs: number): boolean {
    return this.#tasks.size > 0 || nowMs - this.#lastTaskMs < busyMs;
  }

  /** True if it is another grant than before. */
  setGrant(credit: Credit): boolean {
    if (credit.tasks === this.grant.tasks && credit.bytes === this.grant.bytes) return false;
    this.grant = credit;
    this.#limit.tasks = Math.max(this.#limit.tasks, credit.tasks);
    this.#limit.bytes = Math.max(this.#limit.bytes, credit.bytes);
    return true;
  }

  /** Why a task must be dropped, or undefined. Counts it as seen unless it was seen before. */
  refuse(head: TaskHead): DropCause | undefined {
    if (head.sequence <= this.lastSeen) return "sequence";
    this.lastSeen = head.sequence;
    const tooManyBytes = this.#tasks.size > 0 && this.#bytes + bytesOf(head) > this.#limit.bytes;
    return this.#tasks.size >= this.#limit.tasks || tooManyBytes ? "credit" : undefined;
  }

  /** A task that cannot be read was seen too, so that its dispatcher learns of it. */
  passOver(sequence: unknown): void {
    if (sequence === this.lastSeen + 1) this.lastSeen += 1;
  }

  add(task: HeldTask, nowMs: number): void {
    this.#tasks.set(task.head.sequence, task);
    this.#byId.set(task.head.taskId, task);
    this.#bytes += bytesOf(task.head);
    this.#lastTaskMs = nowMs;
  }

  find(taskId: string): HeldTask | undefined {
    return this.#byId.get(taskId);
  }

  settle(task: HeldTask): void {
    if (!this.#byId.delete(task.head.taskId)) return;
    this.#tasks.delete(task.head.sequence);
    this.#bytes -= bytesOf(task.head);
  }
}

/** Bytes that the task brought over the bus. */
function bytesOf(head: TaskHead): number {
  return head.bytes ?? 0;
}
