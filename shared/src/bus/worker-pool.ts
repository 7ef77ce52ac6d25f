import type { Clock } from "../clock.ts";
import type { Logger } from "../logger.ts";
import type { TaskKind } from "../mail/verdict.ts";
import { decodeMessage, maxHeadBytes, type IncomingPart } from "./codec.ts";
import { DropCounter, type DropCause, type DropCounts } from "./drop-counter.ts";
import { parseEndpoint } from "./endpoint.ts";
import { Mailbox } from "./mailbox.ts";
import { chooseWorker, freeCredit } from "./placement.ts";
import type { PoolSession, WorkerSnapshot } from "./pool-session.ts";
import { PoolSessions } from "./pool-sessions.ts";
import type { LostTask, MailToPlace, Outstanding, TaskResult, TaskToPlace } from "./pool-task.ts";
import type { BusProtection } from "./protection.ts";
import { parseResult } from "./result-check.ts";
import { busTiming, type BusTiming } from "./timing.ts";
import {
  byeHeadSchema,
  heartbeatHeadSchema,
  startedHeadSchema,
  wireVersions,
  type Credit,
} from "./wire.ts";

export type { WorkerSnapshot } from "./pool-session.ts";
export type * from "./pool-task.ts";

/** A changed mail may be larger than the raw one: headers, a disclaimer. */
const growthBytes = 2 * 1024 * 1024;
const defaultMaxMailBytes = 50 * 1024 * 1024;
const defaultMaxWorkers = 1_000;

export interface WorkerPoolDeps {
  /** `tcp://address:port` or `ipc://path`; port `*` takes a free one. */
  bind: string;
  actorId: string;
  protection: BusProtection;
  clock: Clock;
  log: Logger;
  /** Called for each result, in the loop that reads the socket: it must be cheap and not throw. */
  onResult: (result: TaskResult) => void;
  /** Called once for each task that will not be answered; likewise. */
  onLost: (lost: LostTask) => void;
  /** There may be credit of this kind that was not there before. At most once a turn of the loop. */
  onCreditChange?: (kind: TaskKind) => void;
  maxMailBytes?: number;
  /** Sessions at once; a `ready` beyond them is dropped and counted. */
  maxWorkers?: number;
  versions?: readonly number[];
  timing?: BusTiming;
}

/** All workers that have said `ready` to this dispatcher. */
export interface WorkerPool {
  /** Where the workers send to. */
  readonly endpoint: string;
  /** Settles when the pool is closed; rejects with what ended it, if that was a bug. */
  readonly done: Promise<void>;
  /** What all workers of a kind still take together. */
  free(kind: TaskKind): Credit;
  /**
   * Sends a task to the worker with the most free credit. Undefined: nobody takes it now. A given
   * Buffer is sent without copying and must never be written to again. Every placed task ends
   * in exactly one `onResult` or `onLost`, unless it is cancelled or the pool is closed.
   */
  place(
    kind: TaskKind,
    task: TaskToPlace,
    mail: MailToPlace,
  ): { taskId: string; workerId: string } | undefined;
  /** Gives a task up without a word to `onLost`. False: it is not out any more. */
  cancel(taskId: string): boolean;
  workers(): WorkerSnapshot[];
  /** Frames dropped since the start, by cause. */
  dropped(): DropCounts;
  /** Places nothing new, awaits what is out (until the signal aborts), says bye and closes. */
  drain(signal?: AbortSignal): Promise<void>;
  /** Stops now; the tasks that are out are forgotten without `onLost`. */
  close(): Promise<void>;
}

/**
 * Binds the dispatcher's result socket and keeps a session with every worker that says `ready`.
 * @throws TerminalError CFG_BUS_UNPROTECTED, BUS_ADDRESS; RetryableError BUS_BIND
 */
export function startWorkerPool(deps: WorkerPoolDeps): Promise<WorkerPool> {
  return Promise.resolve(new Pool(deps));
}

class Pool implements WorkerPool {
  readonly endpoint: string;
  readonly done: Promise<void>;
  readonly #deps: WorkerPoolDeps;
  readonly #versions: readonly number[];
  readonly #mailbox: Mailbox;
  readonly #drops: DropCounter;
  readonly #sessions: PoolSessions;
  readonly #creditChanged = new Set<TaskKind>();
  readonly #timers: NodeJS.Timeout[];
  #draining = false;
  #closed = false;
  #onSettled: () => void = () => undefined;

  constructor(deps: WorkerPoolDeps) {
    const { clock, log, timing = busTiming, maxMailBytes = defaultMaxMailBytes } = deps;
    this.#deps = deps;
    this.#versions = deps.versions ?? wireVersions;
    this.#drops = new DropCounter(clock, log);
    this.#mailbox = Mailbox.open({
      bind: deps.bind,
      maxFrameBytes: Math.max(maxMailBytes + growthBytes, maxHeadBytes),
      protection: deps.protection,
    });
    this.endpoint = this.#mailbox.endpoint;
    this.#sessions = new PoolSessions({
      actorId: deps.actorId,
      versions: this.#versions,
      transport: parseEndpoint(this.endpoint).transport,
      maxWorkers: deps.maxWorkers ?? defaultMaxWorkers,
      maxWaitingBytes: 2 * maxMailBytes,
      protection: deps.protection,
      clock,
      timing,
      log,
      onLost: (lost) => {
        if (!this.#closed) this.#deps.onLost(lost);
      },
      onEnd: () => this.#checkSettled(),
      onUnsendable: () => this.#drops.count("oversize"),
    });
    this.#timers = [
      setInterval(() => this.#sessions.beat(), timing.heartbeatMs),
      setInterval(() => this.#sweep(), timing.sweepMs),
    ];
    this.done = this.#read();
    // Whoever runs the pool may look at `done` later, or not at all.
    this.done.catch((error: unknown) => log.error({ err: error }, "the pool has ended"));
  }

  free(kind: TaskKind): Credit {
    const sum = { tasks: 0, bytes: 0 };
    if (this.#draining || this.#closed) return sum;
    for (const session of this.#sessions.ofKind(kind)) {
      const free = freeCredit(session);
      sum.tasks += free.tasks;
      sum.bytes += free.bytes;
    }
    return sum;
  }

  place(kind: TaskKind, task: TaskToPlace, mail: MailToPlace) {
    if (this.#draining || this.#closed) return undefined;
    const inMemory = Buffer.isBuffer(mail);
    if (inMemory && mail.length !== task.size) {
      throw new RangeError(`mail ${task.mailId} has another size than its task says`);
    }
    const session = chooseWorker(this.#sessions.ofKind(kind), {
      bytes: inMemory ? mail.length : 0,
      spoolId: inMemory ? undefined : mail.spool.id,
      alone: task.alone === true,
    });
    const taskId = session?.place(task, mail);
    return session === undefined || taskId === undefined
      ? undefined
      : { taskId, workerId: session.workerId };
  }

  cancel(taskId: string): boolean {
    for (const session of this.#sessions.all()) {
      const out = session.task(taskId);
      if (out === undefined || out.givenUp) continue;
      out.givenUp = true;
      session.cancel(out);
      return true;
    }
    return false;
  }

  workers(): WorkerSnapshot[] {
    return this.#sessions.all().map((session) => session.snapshot());
  }

  dropped(): DropCounts {
    return this.#drops.snapshot();
  }

  async drain(signal?: AbortSignal): Promise<void> {
    this.#draining = true;
    for (const session of this.#sessions.all()) session.sayBye();
    await new Promise<void>((resolve) => {
      this.#onSettled = resolve;
      signal?.addEventListener("abort", () => resolve(), { once: true });
      if (signal?.aborted === true) resolve();
      this.#checkSettled();
    });
    await this.#endSessions();
    await this.close();
  }

  async close(): Promise<void> {
    if (!this.#closed) {
      this.#closed = true;
      for (const timer of this.#timers) clearInterval(timer);
      await this.#endSessions();
      this.#mailbox.close();
    }
    await this.done.catch(() => undefined);
  }

  async #endSessions(): Promise<void> {
    const sessions = this.#sessions.all();
    for (const session of sessions) session.end("bye");
    await Promise.all(sessions.map((session) => session.closed));
  }

  async #read(): Promise<void> {
    const each = (part: IncomingPart) => {
      const cause = this.#receive(part);
      if (cause !== undefined) this.#drops.count(cause);
    };
    const dropped = (cause: DropCause) => this.#drops.count(cause);
    for await (const frames of this.#mailbox) decodeMessage(frames, this.#versions, each, dropped);
  }

  /** Handles one head; what comes back is why it was dropped. */
  #receive({ head, body }: IncomingPart): DropCause | undefined {
    if (head["kind"] === "ready") {
      return this.#draining || this.#closed ? undefined : this.#sessions.open(head);
    }
    const session = this.#sessions.get(String(head["session"]));
    if (session === undefined || head["from"] !== session.workerId) return "session";
    if (head["v"] !== session.version) return "version";
    switch (head["kind"]) {
      case "result":
        return this.#onResult(session, head, body);
      case "heartbeat":
        return this.#onHeartbeat(session, head);
      case "started":
        return this.#onStarted(session, head);
      case "bye":
        return this.#onBye(session, head);
      default:
        return "kind";
    }
  }

  #onHeartbeat(session: PoolSession, head: Record<string, unknown>): DropCause | undefined {
    const heartbeat = heartbeatHeadSchema.safeParse(head);
    if (!heartbeat.success) return "schema";
    const before = session.snapshot();
    session.heard();
    if (session.update(heartbeat.data)) this.#tellCredit(session.kind);
    this.#logChange(session, before, session.snapshot());
    this.#checkSettled();
    return undefined;
  }

  #logChange(session: PoolSession, before: WorkerSnapshot, after: WorkerSnapshot): void {
    const worker = { worker: session.workerId, task: session.kind, mailbox: after.mailbox };
    if (before.state === "opening")
      this.#deps.log.info({ ...worker, ...after.grant }, "worker is here");
    if (after.unable !== undefined && after.unable !== before.unable) {
      this.#deps.log.warn({ ...worker, reason: after.unable }, "worker is unable");
    } else if (before.unable !== undefined && after.unable === undefined) {
      this.#deps.log.info(worker, "worker is able again");
    }
  }

  #onStarted(session: PoolSession, head: Record<string, unknown>): DropCause | undefined {
    const started = startedHeadSchema.safeParse(head);
    if (!started.success) return "schema";
    session.heard();
    for (const taskId of started.data.taskIds) {
      if (session.markStarted(taskId)) this.#tellCredit(session.kind);
    }
    return undefined;
  }

  #onResult(
    session: PoolSession,
    head: Record<string, unknown>,
    body: Buffer | undefined,
  ): DropCause | undefined {
    const out = session.task(String(head["taskId"]));
    if (out === undefined) return "task";
    const { task, kind } = out;
    const result = parseResult(head, body, {
      kind,
      mailId: task.mailId,
      sha256: task.sha256,
      settingsHash: task.settingsHash,
    });
    if (typeof result === "string") return result;
    session.heard();
    session.settle(out);
    this.#tellCredit(kind);
    this.#finish(session, out, result, body);
    this.#checkSettled();
    return out.givenUp && result.output.kind !== "failed" ? "late" : undefined;
  }

  #finish(
    session: PoolSession,
    out: Outstanding,
    head: TaskResult["head"],
    bytes: Buffer | undefined,
  ): void {
    if (out.givenUp) return;
    if (head.output.kind === "failed") {
      const { code, detail } = head.output;
      session.lose(out, code === "BUS_DEADLINE" ? "deadline" : "failed", { code, detail });
      return;
    }
    this.#deps.onResult({
      taskId: out.taskId,
      workerId: session.workerId,
      kind: out.kind,
      task: out.task,
      head,
      bytes,
      engine: head.engine ?? session.engine,
      sentAtMs: out.sentAtMs,
    });
  }

  #onBye(session: PoolSession, head: Record<string, unknown>): DropCause | undefined {
    const bye = byeHeadSchema.safeParse(head);
    if (!bye.success) return "schema";
    session.heard();
    if (bye.data.done) session.end("bye");
    else session.sayBye();
    return undefined;
  }

  #sweep(): void {
    this.#sessions.sweep();
    this.#checkSettled();
  }

  /** Told in a later turn, so that nobody is called back from within `place`. */
  #tellCredit(kind: TaskKind): void {
    const { onCreditChange } = this.#deps;
    if (onCreditChange === undefined || this.#creditChanged.has(kind)) return;
    this.#creditChanged.add(kind);
    setImmediate(() => {
      this.#creditChanged.delete(kind);
      if (!this.#closed) onCreditChange(kind);
    });
  }

  #checkSettled(): void {
    if (!this.#draining) return;
    for (const session of this.#sessions.all()) if (!session.settled) return;
    this.#onSettled();
  }
}
