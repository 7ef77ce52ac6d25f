import type { Credit, HeartbeatHead, TaskHead } from "../bus/wire.ts";
import type { DropCause } from "../bus/drop-counter.ts";
import { Mode } from "../mode.ts";
import type { HeldTask } from "./held-task.ts";

/** A dispatcher that has sent something this lately shares the credit fully. */
const busyMs = 2_000;

/** `parting`: the dispatcher sends nothing new. `ended`: what is not answered yet goes to others. */
const modes = {
  open: [],
  parting: ["open", "parting"],
  ended: ["open", "parting"],
} as const;

/** The worker's half of a session: what was granted, what came, what is answered. */
export class WorkerSession {
  readonly id: string;
  readonly version: number;
  readonly dispatcherId: string;
  readonly dispatcherIncarnation: string;
  grant: Credit = { tasks: 0, bytes: 0 };
  /** The dispatcher has been told that it has this worker to itself. */
  isSole = false;
  /** The dispatcher has a task that tolerates no other. */
  wantsSole = false;
  /** Heartbeats written so far. */
  beats = 0;
  lastSeen = 0;
  lastHeardMs: number;
  /** Epoch milliseconds until which this process said that it would be silent. */
  busyUntil = 0;
  readonly #mode = new Mode<keyof typeof modes>("a worker's session", modes, "open");
  /** By sequence number, ascending. */
  readonly #tasks = new Map<number, HeldTask>();
  readonly #byId = new Map<string, HeldTask>();
  #bytes = 0;
  /** The largest grant of this session: a smaller one may still be on its way to the dispatcher. */
  readonly #limit: Credit = { tasks: 0, bytes: 0 };
  #lastTaskMs = -Infinity;
  /** The heartbeat that tells the grant first, and the last that was taken in over there. */
  #grantBeat = 1;
  #heardBeat = 0;

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
    return this.#mode.is("parting") && this.#tasks.size === 0;
  }

  /** The dispatcher has said so; it may again. */
  part(): void {
    this.#mode.enter("parting");
  }

  end(): void {
    this.#mode.enter("ended");
  }

  heard(nowMs: number): void {
    this.lastHeardMs = nowMs;
  }

  /** Takes over what the dispatcher's heartbeat says. True: the credit may have to be split again. */
  update({ heard = Infinity, wantsSole = false }: HeartbeatHead): boolean {
    const wasTold = this.isTold;
    const changes = wantsSole !== this.wantsSole;
    this.#heardBeat = heard;
    this.wantsSole = wantsSole;
    return changes || this.isTold !== wasTold;
  }

  /**
   * The dispatcher goes by the grant as it is: all that it sends from now on keeps to that. One that
   * acknowledges no heartbeats is taken to.
   */
  get isTold(): boolean {
    return this.#heardBeat >= this.#grantBeat;
  }

  get hasTasks(): boolean {
    return this.#tasks.size > 0;
  }

  /** A task that tolerates no other is here. */
  get hasAlone(): boolean {
    for (const { head } of this.#tasks.values()) if (head.alone === true) return true;
    return false;
  }

  isBusy(nowMs: number): boolean {
    return this.#tasks.size > 0 || nowMs - this.#lastTaskMs < busyMs;
  }

  /** True if it is another grant than before. */
  setGrant(credit: Credit, isSole: boolean): boolean {
    const isSame = credit.tasks === this.grant.tasks && credit.bytes === this.grant.bytes;
    if (isSame && isSole === this.isSole) return false;
    this.isSole = isSole;
    if (isSame) return true;
    this.#grantBeat = this.beats + 1;
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
    this.#mode.expect(["open", "parting"], "take a task");
    this.#tasks.set(task.head.sequence, task);
    this.#byId.set(task.head.taskId, task);
    this.#bytes += bytesOf(task.head);
    this.#lastTaskMs = nowMs;
    if (task.head.alone === true) this.wantsSole = false;
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
