import { hostname } from "node:os";
import { DropCounter, type DropCounts } from "../bus/drop-counter.ts";
import { systemLookup, type Lookup } from "../bus/endpoint.ts";
import type { Mailbox } from "../bus/mailbox.ts";
import type { BusProtection } from "../bus/protection.ts";
import { busTiming, type BusTiming } from "../bus/timing.ts";
import { wireVersions, type Credit } from "../bus/wire.ts";
import type { Clock } from "../clock.ts";
import { newToken } from "../ids.ts";
import { RetryableError } from "../errors.ts";
import { Metrics } from "../health/metrics.ts";
import type { Logger } from "../logger.ts";
import { NeededTimer } from "../needed-timer.ts";
import { watchAbility } from "./ability-watch.ts";
import { Conditions } from "./conditions.ts";
import type { WorkerConfig } from "./config.ts";
import { grantFactor } from "./credit-split.ts";
import { watchDispatchers } from "./dispatcher-directory.ts";
import { DispatcherLinks } from "./dispatcher-links.ts";
import type { Ability, TaskHandler } from "./handler.ts";
import type { HeldTask } from "./held-task.ts";
import { buildResult } from "./result.ts";
import { openSpooled } from "./spool.ts";
import { LinkInbox } from "./link-inbox.ts";
import { TaskReceiver } from "./task-receiver.ts";
import { TaskRunner, type Answer } from "./task-runner.ts";
import { openWorkerMailbox } from "./worker-mailbox.ts";
import type { WorkerHandle, WorkerState } from "./worker-handle.ts";
import { createWorkerMetrics } from "./worker-metrics.ts";

export type { WorkerHandle } from "./worker-handle.ts";

export interface WorkerDeps {
  config: WorkerConfig;
  handler: TaskHandler;
  clock: Clock;
  log: Logger;
  versions?: readonly number[];
  timing?: BusTiming;
  lookup?: Lookup;
  metrics?: Metrics;
}

/**
 * Starts a worker: binds its mailbox, puts the canaries through the engine, says `ready` to every
 * dispatcher, and gives their tasks to the handler. `ready` settles when the engine was first found
 * able; whether dispatchers are there is another matter (`state`).
 * @throws TerminalError CFG_BUS_UNPROTECTED, BUS_ADDRESS; RetryableError BUS_BIND
 */
export function startWorker(deps: WorkerDeps): WorkerHandle {
  return new Worker(deps);
}

class Worker implements WorkerHandle {
  readonly mailbox: string;
  readonly ready: Promise<void>;
  readonly done: Promise<void>;
  readonly #deps: WorkerDeps;
  readonly #id: string;
  readonly #timing: BusTiming;
  readonly #versions: readonly number[];
  readonly #protection: BusProtection;
  readonly #mailbox: Mailbox;
  readonly #drops: DropCounter;
  readonly #runner: TaskRunner;
  readonly #links: DispatcherLinks;
  readonly #inbox: LinkInbox;
  readonly #ended = new AbortController();
  readonly #conditions = new Conditions(this.#ended.signal);
  readonly #beating: NodeJS.Timeout;
  readonly #sweeping: NeededTimer;
  readonly #becameReady = Promise.withResolvers<undefined>();
  readonly #failed = Promise.withResolvers<never>();
  readonly #counts: ReturnType<typeof createWorkerMetrics>;
  #dispatchers: ReadonlySet<string> = new Set();
  #ability: Ability | undefined;
  #spools: readonly string[] = [];
  #draining = false;
  #overdueSinceMs = Infinity;
  #isStuck = false;

  constructor(deps: WorkerDeps) {
    const { config, handler, clock, log } = deps;
    this.#deps = deps;
    this.#id = config.ACTOR_ID ?? `${handler.kind}-${hostname()}-${String(process.pid)}`;
    this.#timing = deps.timing ?? busTiming;
    this.#versions = deps.versions ?? wireVersions;
    const { protection, mailbox } = openWorkerMailbox(config, {
      task: handler.kind,
      maxMailBytes: config.MAX_MAIL_BYTES,
      clock,
      log,
    });
    this.#protection = protection;
    this.#mailbox = mailbox;
    this.#drops = new DropCounter(clock, log);
    this.mailbox = this.#mailbox.endpoint;
    this.#runner = this.#createRunner();
    this.#links = this.#createLinks();
    protection.keys?.onChange(() => this.#links.recheckKeys());
    const receiver = new TaskReceiver({
      kind: handler.kind,
      links: this.#links,
      runner: this.#runner,
      clock,
      log,
    });
    this.#inbox = new LinkInbox({
      versions: this.#versions,
      links: this.#links,
      drops: this.#drops,
      clock,
      receive: (session, part) => {
        this.#sweeping.need();
        return receiver.receive(session, part);
      },
      onBye: () => this.#conditions.wake(),
    });
    this.#counts = this.#createMetrics();
    this.#beating = setInterval(() => this.#links.tick(), this.#timing.heartbeatMs);
    this.#sweeping = new NeededTimer({
      everyMs: this.#timing.sweepMs,
      run: () => this.#sweep(clock.monotonicMs()),
      isNeeded: () => !this.#runner.idle,
    });
    this.ready = Promise.race([this.#becameReady.promise, this.#failed.promise]);
    this.done = Promise.race([this.#run(), this.#failed.promise]);
    // The caller may look at these later, or not at all.
    this.ready.catch(() => undefined);
    this.done.catch((error: unknown) => this.#fail(error));
  }

  state(): WorkerState {
    const dispatchers = this.#links.all().map((link) => ({
      endpoint: link.endpoint,
      mode: link.mode,
      mailbox: link.mailbox,
      grant: link.session?.grant ?? { tasks: 0, bytes: 0 },
    }));
    return { ability: this.#ability, unable: this.#whyIncapable(), dispatchers };
  }

  dropped(): DropCounts {
    return this.#drops.snapshot();
  }

  refused(): number {
    return this.#mailbox.refused;
  }

  async drain(signal?: AbortSignal): Promise<void> {
    if (this.#ended.signal.aborted) return;
    this.#draining = true;
    this.#links.regrant();
    this.#links.sayBye(false);
    const links = this.#links.all();
    const finished = () => links.every(({ session }) => session?.finished ?? true);
    await this.#conditions.until(() => this.#runner.idle && finished(), signal);
    this.#links.sayBye(true);
    const parted = AbortSignal.timeout(this.#timing.silentMs);
    const limit = signal === undefined ? parted : AbortSignal.any([signal, parted]);
    await this.#conditions.until(() => links.every((link) => link.mode === "closed"), limit);
    await this.close();
  }

  async close(): Promise<void> {
    if (!this.#ended.signal.aborted) {
      this.#ended.abort();
      clearInterval(this.#beating);
      this.#sweeping.close();
      this.#links.close();
      this.#mailbox.close();
      this.#protection.close();
      this.#conditions.wake();
      await this.#deps.handler.close();
    }
    await this.done.catch(() => undefined);
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #run(): Promise<void> {
    const { handler, config, log, lookup = systemLookup } = this.#deps;
    const { signal } = this.#ended;
    const watch = {
      handler,
      intervalMs: config.CANARY_INTERVAL_MS,
      spoolDir: config.SPOOL_DIR,
      onAbility: (ability: Ability, spools: readonly string[]) => this.#onAbility(ability, spools),
    };
    const directory = {
      dispatchers: config.BUS_DISPATCHERS,
      everyMs: this.#timing.resolveMs,
      lookup,
      protection: this.#protection,
      log,
      onResolved: (endpoints: ReadonlySet<string>) => this.#onResolved(endpoints),
    };
    await Promise.all([
      watchAbility(watch, signal),
      watchDispatchers(directory, signal),
      this.#inbox.read(this.#mailbox),
    ]);
  }

  #createRunner(): TaskRunner {
    const { handler, clock, config } = this.#deps;
    return new TaskRunner({
      handler,
      clock,
      graceMs: this.#timing.graceMs / 2,
      openSpooled: (task) => openSpooled(config.SPOOL_DIR, task),
      onBegin: (tasks) => this.#tellBegun(tasks),
      onAnswer: (task, answer) => this.#answer(task, answer),
      onIdle: () => this.#conditions.wake(),
    });
  }

  #createMetrics(): ReturnType<typeof createWorkerMetrics> {
    const { handler, metrics = new Metrics() } = this.#deps;
    return createWorkerMetrics(metrics, handler.kind, () => ({
      isAble: this.#whyIncapable() === undefined,
      sessions: this.#links.all().filter(({ isOn }) => isOn).length,
      atWork: this.#runner.atWork,
      places: handler.concurrency(),
      dropped: this.#drops.snapshot(),
      refused: this.refused(),
    }));
  }

  #createLinks(): DispatcherLinks {
    const { config, clock, log, handler } = this.#deps;
    return new DispatcherLinks({
      clock,
      heartbeatMs: this.#timing.heartbeatMs,
      link: {
        workerId: this.#id,
        incarnation: newToken(),
        task: handler.kind,
        versions: this.#versions,
        bound: this.mailbox,
        advertise: config.BUS_ADVERTISE,
        maxWaitingBytes: config.BUS_CREDIT_BYTES + 2 * config.MAX_MAIL_BYTES,
        protection: this.#protection,
        clock,
        log,
        timing: this.#timing,
        self: () => this.#describe(),
        onFatal: (error) => this.#fail(error),
      },
      capacity: () => this.#capacity(),
      onSessionEnd: (session) => {
        for (const task of [...session.tasks]) this.#runner.drop(task);
        this.#conditions.wake();
      },
    });
  }

  #onAbility(ability: Ability, spools: readonly string[]): void {
    const { log } = this.#deps;
    const before = this.#ability;
    this.#ability = ability;
    this.#spools = spools;
    if (ability.able) {
      if (before?.able !== true) log.info({ engine: ability.engine }, "engine is able");
      this.#becameReady.resolve(undefined);
    } else if (before?.able !== false) {
      log.warn({ reason: ability.reason }, "engine is unable: no task is taken");
    }
    if (before === undefined) this.#links.reconcile(this.#dispatchers);
    this.#links.regrant();
    this.#links.beat();
  }

  /** The dispatchers hear of us once the first canaries are back. */
  #onResolved(endpoints: ReadonlySet<string>): void {
    this.#dispatchers = endpoints;
    if (this.#ability !== undefined) this.#links.reconcile(endpoints);
  }

  #capacity(): Credit {
    const { handler, config } = this.#deps;
    const places = Math.max(0, handler.concurrency() - this.#runner.overdue);
    const tasks = this.#whyUnable() === undefined ? places * grantFactor : 0;
    return { tasks, bytes: config.BUS_CREDIT_BYTES };
  }

  #describe() {
    const engine = this.#ability?.able === true ? this.#ability.engine : undefined;
    return { engine, spools: this.#spools, unable: this.#whyUnable() };
  }

  #whyUnable(): string | undefined {
    return this.#draining ? "draining" : this.#whyIncapable();
  }

  #whyIncapable(): string | undefined {
    if (this.#ability === undefined) return "the canaries are not back yet";
    if (!this.#ability.able) return this.#ability.reason.slice(0, 500);
    const { handler } = this.#deps;
    const places = handler.concurrency();
    if (places === 0) {
      const reason = handler.whyNone?.() ?? "";
      return reason === "" ? "no engine takes work" : reason.slice(0, 500);
    }
    const { overdue } = this.#runner;
    return overdue >= places || this.#isStuck ? "tasks that were given up do not end" : undefined;
  }

  /** Deadlines; and a worker whose handler does not end what is given up must start again. */
  #sweep(nowMs: number): void {
    this.#runner.sweep(nowMs);
    if (this.#runner.overdue === 0) this.#overdueSinceMs = Infinity;
    else this.#overdueSinceMs = Math.min(this.#overdueSinceMs, nowMs);
    this.#isStuck = nowMs - this.#overdueSinceMs >= this.#timing.stuckMs;
    if (!this.#isStuck || this.#runner.atWork > 0) return;
    this.#fail(new RetryableError("WORKER_HANDLER_FAILED", "its tasks do not end when aborted"));
  }

  /** The tasks are of one session. */
  async #tellBegun(tasks: readonly HeldTask[]): Promise<void> {
    const last = tasks.at(-1);
    const link = this.#links.ofSession(last?.sessionId ?? "");
    if (link?.session === undefined) return;
    const { version, id: session } = link.session;
    const sequence = last?.head.sequence;
    link.send({ v: version, from: this.#id, kind: "started", session, sequence });
    await link.flushed();
  }

  #answer(task: HeldTask, answer: Answer): void {
    const link = this.#links.ofSession(task.sessionId);
    const session = link?.session;
    if (link === undefined || session === undefined) return;
    const able = this.#ability?.able === true ? this.#ability : undefined;
    const { head, body, invalid } = buildResult(task, answer, {
      workerId: this.#id,
      version: session.version,
      announced: able?.engine,
      blind: able?.blind,
      nowMs: this.#deps.clock.monotonicMs(),
    });
    if (invalid !== undefined) task.log.error({ invalid }, "handler's output is not on the wire");
    session.settle(task);
    this.#links.onAnswer();
    const result = invalid === undefined ? answer.output.kind : "failed";
    this.#counts.answered.add({ kind: task.head.task, result });
    if (!link.send(head, body)) task.log.error("result does not fit into the send queue");
    if (this.#draining) this.#conditions.wake();
  }

  #fail(error: unknown): void {
    this.#failed.reject(error);
    void this.close().catch(() => undefined);
  }
}
