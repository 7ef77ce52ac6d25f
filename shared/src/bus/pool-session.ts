import type { Clock } from "../clock.ts";
import { newToken } from "../ids.ts";
import { Mode } from "../mode.ts";
import type { Engine } from "../checks/finding.ts";
import type { TaskKind } from "../checks/verdict.ts";
import { refusalTexts } from "./handshake.ts";
import { bigFrameBytes, freeCredit, type Placeable } from "./placement.ts";
import { sessionModes, type PoolSessionMode } from "./pool-session-mode.ts";
import { wordsOf, type LostReason, type LostTask, type MailToPlace } from "./pool-task.ts";
import type { Outstanding, TaskToPlace } from "./pool-task.ts";
import type { BusProtection } from "./protection.ts";
import { PushSender } from "./push-sender.ts";
import type { BusTiming } from "./timing.ts";
import { SoleUse } from "./sole-use.ts";
import type { Credit, HeartbeatHead, ReadyHead, SessionKind } from "./wire.ts";
import type { SessionSnapshot } from "./worker-snapshot.ts";

/** How long a last word may still be delivered after the session's end. */
const lastWordMs = 1_000;

export interface PoolSessionOptions {
  ready: ReadyHead;
  version: number;
  /** Of the dispatcher. */
  actorId: string;
  incarnation: string;
  maxWaitingBytes: number;
  protection: BusProtection;
  clock: Clock;
  timing: BusTiming;
  /** The worker has told how it is, from its mailbox: it is who it says. Before anything is placed. */
  onHeard: (session: PoolSession) => void;
  /** Called once per task; never while `place` runs. */
  onLost: (lost: LostTask) => void;
  onEnd: (session: PoolSession, reason: LostReason) => void;
  onUnsendable: () => void;
}

/**
 * The dispatcher's half of a session with one worker: its grant, the tasks that are out, and the
 * socket to its mailbox. `outstanding` never exceeds `grant` by anything placed here, except for
 * the one task of any size that an idle worker takes.
 */
export class PoolSession implements Placeable {
  readonly id = newToken();
  readonly workerId: string;
  readonly kind: SessionKind;
  readonly version: number;
  /** That of its mailbox, if the bus has keys. */
  readonly publicKey: string | undefined;
  grant: Credit = { tasks: 0, bytes: 0 };
  readonly outstanding: Credit = { tasks: 0, bytes: 0 };
  engine: Engine | undefined;
  spools: readonly string[];
  aloneOut = false;
  placedAtMs = -Infinity;
  /** Settles when, after the session's end, the socket is closed. */
  closed: Promise<void> = Promise.resolve();
  readonly #options: PoolSessionOptions;
  readonly #sender: PushSender;
  readonly #soleUse: SoleUse;
  /** In the order of their sequence numbers. */
  readonly #tasks = new Map<string, Outstanding>();
  readonly #mode = new Mode<PoolSessionMode>("a pool's session", sessionModes, "opening");
  #unable: string | undefined;
  #sequence = 0;
  #bigSequence = 0;
  #startedUpTo = 0;
  #seen = 0;
  #lastHeardMs: number;
  #busyUntilMs = -Infinity;
  #refusal: string | undefined;

  constructor(options: PoolSessionOptions) {
    const { ready } = options;
    this.#options = options;
    this.workerId = ready.from;
    this.kind = ready.task;
    this.version = options.version;
    this.publicKey = ready.publicKey;
    this.engine = ready.engine;
    this.spools = ready.spools;
    this.#lastHeardMs = options.clock.monotonicMs();
    this.#soleUse = new SoleUse(() => options.clock.monotonicMs());
    this.#sender = new PushSender({
      endpoint: ready.mailbox,
      protection: options.protection,
      serverKey: ready.publicKey,
      maxParts: 10_000,
      maxBytes: options.maxWaitingBytes,
      onConnected: () => undefined,
      onDisconnected: () => this.end(this.#mode.is("parting") ? "bye" : "disconnect"),
      onRefused: (failure) => (this.#refusal = refusalTexts[failure]),
      onUnsendable: options.onUnsendable,
    });
    this.beat();
  }

  /** Why nobody has answered, as far as is known. */
  get whyUnproven(): string {
    if (this.#refusal !== undefined) return this.#refusal;
    if (this.#sender.connected) return "it is reached, and does not answer";
    return "nobody can be reached there (BUS_ADVERTISE, BUS_BIND of the worker, a firewall)";
  }

  get takesTasks(): boolean {
    return this.#mode.is("open") && !this.#isSilent();
  }

  /** A relay that was heard of recently. */
  get takesHints(): boolean {
    return this.kind === "relay" && this.takesTasks;
  }

  get bigFrameOut(): boolean {
    return this.#bigSequence > this.#seen;
  }

  /** Sends a task; the caller has looked at the credit (`fits`). Undefined: the socket is full. */
  place(kind: TaskKind, task: TaskToPlace, mail: MailToPlace): string | undefined {
    const { clock, timing } = this.#options;
    const taskId = newToken();
    const sequence = this.#sequence + 1;
    const body = Buffer.isBuffer(mail) ? mail : undefined;
    const asked = wordsOf(task, mail);
    const head = { ...this.#common("task"), taskId, sequence, task: kind, ...asked };
    if (!this.#sender.send(head, body)) return undefined;
    this.#sequence = sequence;
    const sentAtMs = clock.monotonicMs();
    const out: Outstanding = {
      taskId,
      sequence,
      kind,
      task,
      bytes: body?.length ?? 0,
      sentAtMs,
      giveUpAtMs: sentAtMs + task.deadlineMs + timing.graceMs,
      givenUp: false,
    };
    this.#tasks.set(taskId, out);
    this.outstanding.tasks += 1;
    this.outstanding.bytes += out.bytes;
    this.aloneOut = task.alone === true;
    this.placedAtMs = sentAtMs;
    this.#soleUse.use();
    if (out.bytes > bigFrameBytes) this.#bigSequence = sequence;
    return taskId;
  }

  get kept(): boolean {
    return this.#soleUse.isWanted;
  }

  get isSole(): boolean {
    return this.#soleUse.isGranted;
  }

  /** A task that tolerates no other waits for this worker. */
  keep(): void {
    if (this.#soleUse.want()) this.beat();
  }

  /** Any frame of this session is a sign of life. */
  heard(): void {
    this.#lastHeardMs = this.#options.clock.monotonicMs();
  }

  /** Takes over what a worker says about itself. True: it may take tasks that it did not before. */
  update(head: HeartbeatHead): boolean {
    const before = freeCredit(this);
    const couldBig = !this.bigFrameOut;
    const wasSole = this.isSole;
    const hadCredit = this.grant.tasks > 0;
    this.#options.onHeard(this);
    if (this.#mode.is("opening")) this.#mode.enter("open");
    if (head.credit !== undefined) this.grant = head.credit;
    this.#unable = head.unable;
    this.engine = head.engine ?? this.engine;
    this.spools = head.spools ?? this.spools;
    this.#busyUntilMs = this.#busyUntil(head.busyUntil);
    if (head.lastSeen !== undefined) this.#seen = Math.max(this.#seen, head.lastSeen);
    if (head.lastDone !== undefined) this.#passBy(head.lastDone);
    this.#soleUse.update(head, head.lastSeen === this.#sequence);
    // Another dispatcher may wait for us to have seen that.
    if (hadCredit && this.grant.tasks === 0) this.beat();
    const after = freeCredit(this);
    const hasMore = after.tasks > before.tasks || after.bytes > before.bytes;
    return hasMore || couldBig === this.bigFrameOut || this.isSole !== wasSole;
  }

  task(taskId: string): Outstanding | undefined {
    return this.#tasks.get(taskId);
  }

  /** Work has begun on all up to this number. True: among them is a big frame that others await. */
  markStarted(sequence: number): boolean {
    const bigBefore = this.#bigSequence > this.#seen;
    this.#startedUpTo = Math.max(this.#startedUpTo, Math.min(sequence, this.#sequence));
    this.#seen = Math.max(this.#seen, this.#startedUpTo);
    return bigBefore && !this.bigFrameOut;
  }

  /** The worker has answered (or passed by) this task: its credit is free again. */
  settle(out: Outstanding): void {
    if (!this.#tasks.delete(out.taskId)) return;
    this.outstanding.tasks -= 1;
    this.outstanding.bytes -= out.bytes;
    this.#seen = Math.max(this.#seen, out.sequence);
    if (out.task.alone === true) this.aloneOut = false;
  }

  /** Tells the dispatcher that a task is lost, once. */
  lose(out: Outstanding, reason: LostReason, failure?: { code: string; detail: string }): void {
    if (out.givenUp) return;
    out.givenUp = true;
    this.#options.onLost({
      taskId: out.taskId,
      mailId: out.task.mailId,
      workerId: this.workerId,
      kind: out.kind,
      task: out.task,
      reason,
      started: this.#isStarted(out),
      ...(failure === undefined ? {} : { failure }),
    });
  }

  /** Gives a task up and tells the worker. It still counts until the worker has answered. */
  cancel(out: Outstanding): void {
    this.#sender.send({ ...this.#common("cancel"), taskId: out.taskId });
  }

  /** Looks at the deadlines of what is out. */
  sweep(nowMs: number): void {
    const { timing } = this.#options;
    for (const out of this.#tasks.values()) {
      // The worker lives and has not seen it for this long: it never came, and must not hold its credit forever.
      const isLost = out.givenUp && out.sequence > this.#seen;
      if (isLost && nowMs >= out.giveUpAtMs + timing.deadMs) this.settle(out);
      if (out.givenUp || nowMs < out.giveUpAtMs) continue;
      this.cancel(out);
      this.lose(out, "deadline");
    }
  }

  /** One heartbeat; also ends the session when the worker has been silent for too long. */
  beat(): void {
    const { clock, timing, incarnation, ready } = this.#options;
    const silentSinceMs = Math.max(this.#lastHeardMs, this.#busyUntilMs);
    if (clock.monotonicMs() - silentSinceMs >= timing.deadMs) {
      this.end("silent");
      return;
    }
    const words = { incarnation, link: ready.link, ...this.#soleUse.words };
    this.#sender.send({ ...this.#common("heartbeat"), ...words });
  }

  /** We stood still ourselves for this long: nobody's silence can be judged by it. */
  forgive(ms: number): void {
    this.#lastHeardMs += ms;
  }

  /** Places no more, and says so. */
  sayBye(): void {
    if (!this.#mode.is("parting")) this.#mode.enter("leaving");
    this.#sender.send({ ...this.#common("bye"), done: false });
  }

  /** The worker takes no more: it was told to drain. */
  workerLeaves(): void {
    this.#mode.enter("parting");
    this.sayBye();
  }

  get settled(): boolean {
    return [...this.#tasks.values()].every((out) => out.givenUp);
  }

  /** Ends the session, with a last bye if there is time; what is still out is lost. */
  end(reason: LostReason): void {
    if (this.#mode.is("ended")) return;
    this.#mode.enter("ended");
    if (reason === "bye") {
      this.#sender.send({ ...this.#common("bye"), done: true });
      this.closed = this.#sender.finish(lastWordMs);
    } else {
      this.#sender.close();
    }
    const tasks = [...this.#tasks.values()];
    this.#tasks.clear();
    this.#options.onEnd(this, reason);
    for (const out of tasks) this.lose(out, reason);
  }

  /** Tells a relay what waits; nobody knows whether it hears that (I6). */
  tellWaiting(route: string, mails: readonly string[]): void {
    this.#sender.send({ ...this.#common("waiting"), route, mails });
  }

  snapshot(): SessionSnapshot {
    const { ready, clock } = this.#options;
    return {
      id: this.workerId,
      kind: this.kind,
      mailbox: ready.mailbox,
      incarnation: ready.incarnation,
      state: this.#stateName(),
      unable: this.#unable,
      engine: this.engine,
      spools: this.spools,
      grant: this.grant,
      free: freeCredit(this),
      outstanding: { ...this.outstanding },
      started: [...this.#tasks.values()].filter((out) => this.#isStarted(out)).length,
      heardAgoMs: clock.monotonicMs() - this.#lastHeardMs,
    };
  }

  #isStarted(out: Outstanding): boolean {
    return out.sequence <= this.#startedUpTo;
  }

  #stateName(): SessionSnapshot["state"] {
    if (this.#mode.is("opening")) return "opening";
    if (!this.#mode.is("open")) return "leaving";
    return this.#isSilent() ? "silent" : "open";
  }

  #isSilent(): boolean {
    const { clock, timing } = this.#options;
    return clock.monotonicMs() - this.#lastHeardMs >= timing.silentMs;
  }

  /** Epoch milliseconds of the worker → our monotonic ones; a promise of at most a minute. */
  #busyUntil(epochMs: number | undefined): number {
    if (epochMs === undefined) return -Infinity;
    const { clock } = this.#options;
    return clock.monotonicMs() + Math.min(60_000, epochMs - clock.now().getTime());
  }

  #passBy(lastDone: number): void {
    for (const out of this.#tasks.values()) {
      if (out.sequence > lastDone) return;
      this.settle(out);
      this.lose(out, "uncertain");
    }
  }

  #common<K extends string>(kind: K) {
    return { v: this.version, from: this.#options.actorId, kind, session: this.id };
  }
}
