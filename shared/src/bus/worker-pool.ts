import type { Clock } from "../clock.ts";
import type { Logger } from "../logger.ts";
import { laneOf, type Lane } from "../mail/lane.ts";
import type { TaskKind } from "../checks/verdict.ts";
import { Mode } from "../mode.ts";
import { NeededTimer } from "../needed-timer.ts";
import { maxHeadBytes } from "./codec.ts";
import { DropCounter, type DropCounts } from "./drop-counter.ts";
import { parseEndpoint } from "./endpoint.ts";
import { growthBytes, Mailbox } from "./mailbox.ts";
import { chooseToKeep, chooseWorker, freeCredit } from "./placement.ts";
import { PoolInbox } from "./pool-inbox.ts";
import { PoolSessions } from "./pool-sessions.ts";
import type { LostReason, LostTask, MailToPlace, TaskResult, TaskToPlace } from "./pool-task.ts";
import type { BusProtection } from "./protection.ts";
import { busTiming, type BusTiming } from "./timing.ts";
import { RelayHints } from "./relay-hints.ts";
import { wireVersions, type Credit, type SessionKind } from "./wire.ts";
import type { WorkerSnapshot } from "./worker-snapshot.ts";

export type { WorkerSnapshot } from "./worker-snapshot.ts";
export type * from "./pool-task.ts";

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
  /** Called once for each task that will not be answered, in the same loop: the same rules apply. */
  onLost: (lost: LostTask) => void;
  /** There may be credit of this kind that was not there before. At most once per turn of the loop. */
  onCreditChange?: (kind: TaskKind) => void;
  /** A session has ended, by whatever the reason says. */
  onWorkerGone?: (kind: TaskKind, reason: LostReason) => void;
  maxMailBytes?: number;
  /** Sessions at once; a `ready` beyond them is dropped and counted. */
  maxWorkers?: number;
  versions?: readonly number[];
  timing?: BusTiming;
}

/** All workers that have said `ready` to this dispatcher. */
export interface WorkerPool extends AsyncDisposable {
  /** Where the workers send to. */
  readonly endpoint: string;
  /** Settles when the pool is closed; rejects with what ended it (a callback that threw). */
  readonly done: Promise<void>;
  /** What all workers of a kind, or those of it with one engine, still take together. */
  free(lane: Lane): Credit;
  /**
   * Sends a task to the worker with the most free credit; one whose settings name an engine to a
   * worker that has said that it has this one. Undefined: nobody takes it now. A given
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
  /**
   * Tells one of the relays that are here that this mail waits for this route, together with what else this turn
   * of the loop has for it: the relays in turn. A hint (I6).
   */
  tellRelay(route: string, mailId: string): void;
  /** Frames dropped since the start, by cause. */
  dropped(): DropCounts;
  /** Peers refused since the start, because of their key or without one; each attempt counts. */
  refused(): number;
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
  return new Promise((resolve) => resolve(new Pool(deps)));
}

const modes = { open: [], draining: ["open"], closed: ["open", "draining"] } as const;

class Pool implements WorkerPool {
  readonly endpoint: string;
  readonly done: Promise<void>;
  readonly #deps: WorkerPoolDeps;
  readonly #mailbox: Mailbox;
  readonly #drops: DropCounter;
  readonly #sessions: PoolSessions;
  readonly #hints: RelayHints;
  readonly #creditChanged = new Set<TaskKind>();
  readonly #beating: NodeJS.Timeout;
  /** Looks at the deadlines of what is out. */
  readonly #sweeping: NeededTimer;
  readonly #mode = new Mode<keyof typeof modes>("the pool", modes, "open");
  #onSettled: () => void = () => undefined;

  constructor(deps: WorkerPoolDeps) {
    const { clock, log, timing = busTiming, versions = wireVersions } = deps;
    const { maxMailBytes = defaultMaxMailBytes } = deps;
    this.#deps = deps;
    this.#drops = new DropCounter(clock, log);
    this.#mailbox = Mailbox.open({
      bind: deps.bind,
      maxFrameBytes: Math.max(maxMailBytes + growthBytes, maxHeadBytes),
      protection: deps.protection,
      clock,
      log,
    });
    this.endpoint = this.#mailbox.endpoint;
    this.#sessions = new PoolSessions({
      actorId: deps.actorId,
      versions,
      transport: parseEndpoint(this.endpoint).transport,
      maxWorkers: deps.maxWorkers ?? defaultMaxWorkers,
      maxWaitingBytes: 2 * maxMailBytes,
      protection: deps.protection,
      clock,
      timing,
      log,
      onLost: (lost) => {
        if (!this.#isClosed) this.#deps.onLost(lost);
      },
      onEnd: ({ kind }, reason) => {
        const isWorker = kind !== "relay" && reason !== undefined;
        if (!this.#isClosed && isWorker) deps.onWorkerGone?.(kind, reason);
        this.#checkSettled();
      },
      onUnsendable: () => this.#drops.count("oversize"),
    });
    this.#hints = new RelayHints(() => this.#sessions.all());
    this.#beating = setInterval(() => this.#sessions.beat(), timing.heartbeatMs);
    this.#sweeping = new NeededTimer({
      everyMs: timing.sweepMs,
      run: () => this.#sweep(),
      isNeeded: () => this.#sessions.all().some(({ outstanding }) => outstanding.tasks > 0),
    });
    const inbox = new PoolInbox({
      sessions: this.#sessions,
      versions,
      drops: this.#drops,
      log,
      takesWorkers: () => this.#mode.is("open"),
      onResult: deps.onResult,
      onCredit: (kind) => this.#tellCredit(kind),
      onSettled: () => this.#checkSettled(),
    });
    this.done = inbox.read(this.#mailbox);
  }

  get #isClosed(): boolean {
    return this.#mode.is("closed");
  }

  free(lane: Lane): Credit {
    const sum = { tasks: 0, bytes: 0 };
    if (!this.#mode.is("open")) return sum;
    for (const session of this.#sessions.serving(lane)) {
      const free = freeCredit(session);
      sum.tasks += free.tasks;
      sum.bytes += free.bytes;
    }
    return sum;
  }

  place(kind: TaskKind, task: TaskToPlace, mail: MailToPlace) {
    if (!this.#mode.is("open")) return undefined;
    const inMemory = Buffer.isBuffer(mail);
    if (inMemory && mail.length !== task.size) {
      throw new RangeError(`mail ${task.mailId} has another size than its task says`);
    }
    const lane = laneOf(kind, task.settings);
    const wish = {
      bytes: inMemory ? mail.length : 0,
      spoolId: inMemory ? undefined : mail.spool.id,
      alone: task.alone === true,
    };
    const session = chooseWorker(this.#sessions.serving(lane), wish);
    if (session === undefined && wish.alone) {
      chooseToKeep(this.#sessions.serving(lane), wish)?.keep();
    }
    const taskId = session?.place(kind, task, mail);
    if (session === undefined || taskId === undefined) return undefined;
    this.#sweeping.need();
    return { taskId, workerId: session.workerId };
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
    return this.#sessions.all().flatMap((session) => {
      const { kind } = session;
      return kind === "relay" ? [] : [{ ...session.snapshot(), kind }];
    });
  }

  tellRelay(route: string, mailId: string): void {
    this.#hints.add(route, mailId);
  }

  dropped(): DropCounts {
    return this.#drops.snapshot();
  }

  refused(): number {
    return this.#mailbox.refused;
  }

  async drain(signal?: AbortSignal): Promise<void> {
    if (this.#mode.is("open")) this.#mode.enter("draining");
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
    if (!this.#isClosed) {
      this.#mode.enter("closed");
      clearInterval(this.#beating);
      this.#sweeping.close();
      await this.#endSessions();
      this.#mailbox.close();
    }
    await this.done.catch(() => undefined);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #endSessions(): Promise<void> {
    const sessions = this.#sessions.all();
    for (const session of sessions) session.end("bye");
    await Promise.all(sessions.map((session) => session.closed));
  }

  #sweep(): void {
    this.#sessions.sweep();
    this.#checkSettled();
  }

  /** Told in a later turn, so that nobody is called back from within `place`. */
  #tellCredit(kind: SessionKind): void {
    const { onCreditChange } = this.#deps;
    if (kind === "relay" || onCreditChange === undefined || this.#creditChanged.has(kind)) return;
    this.#creditChanged.add(kind);
    setImmediate(() => {
      this.#creditChanged.delete(kind);
      if (!this.#isClosed) onCreditChange(kind);
    });
  }

  #checkSettled(): void {
    if (this.#mode.is("open")) return;
    for (const session of this.#sessions.all()) if (!session.settled) return;
    this.#onSettled();
  }
}
