import type { Clock } from "../clock.ts";
import { newToken } from "../ids.ts";
import type { Logger } from "../logger.ts";
import { serves, type Lane } from "../mail/lane.ts";
import type { DropCause } from "./drop-counter.ts";
import { isConcrete, parseEndpoint, type Endpoint } from "./endpoint.ts";
import { PoolSession } from "./pool-session.ts";
import type { LostReason, LostTask } from "./pool-task.ts";
import type { BusProtection } from "./protection.ts";
import type { BusTiming } from "./timing.ts";
import { busKindOf } from "./allow-list.ts";
import { RefusalLog } from "./refusal-log.ts";
import { readyHeadSchema, type ReadyHead, type SessionKind } from "./wire.ts";

export interface PoolSessionsDeps {
  actorId: string;
  versions: readonly number[];
  /** Of our own mailbox: a worker cannot point us at another one. */
  transport: Endpoint["transport"];
  maxWorkers: number;
  maxWaitingBytes: number;
  protection: BusProtection;
  clock: Clock;
  timing: BusTiming;
  log: Logger;
  onLost: (lost: LostTask) => void;
  /** `reason` is undefined for a session in which no worker ever answered. */
  onEnd: (session: PoolSession, reason: LostReason | undefined) => void;
  onUnsendable: () => void;
}

/** Nobody ends the session of one of another kind. */
function actorOf(kind: SessionKind, id: string): string {
  return `${kind} ${id}`;
}

/**
 * The dispatcher's sessions: one for each worker, opened by its `ready`. Anybody who may send to us can
 * write any name into a `ready`; so the worker's previous session ends, and the new one gets
 * tasks, only when the mailbox itself has answered with the session's id.
 */
export class PoolSessions {
  readonly #deps: PoolSessionsDeps;
  readonly #incarnation = newToken();
  readonly #byId = new Map<string, PoolSession>();
  readonly #byActor = new Map<string, PoolSession>();
  /** Not yet heard from, one for each worker. */
  readonly #unproven = new Map<string, PoolSession>();
  readonly #refusals: RefusalLog;
  #nextBeatMs: number;

  constructor(deps: PoolSessionsDeps) {
    this.#deps = deps;
    this.#nextBeatMs = deps.clock.monotonicMs() + deps.timing.heartbeatMs;
    const { keys } = deps.protection;
    this.#refusals = keys?.refusals ?? new RefusalLog(deps.clock, deps.log);
    keys?.onChange(() => this.#endUnlisted());
  }

  /** A copy: sessions may end while one goes through it. */
  all(): PoolSession[] {
    return [...this.#byId.values()];
  }

  get(sessionId: string): PoolSession | undefined {
    return this.#byId.get(sessionId);
  }

  *serving(lane: Lane): Generator<PoolSession> {
    for (const session of this.#byId.values()) if (serves(session, lane)) yield session;
  }

  /** Answers a `ready`: the worker's previous session, if any, ends and its tasks go to others. */
  open(head: Record<string, unknown>): DropCause | undefined {
    const parsed = readyHeadSchema.safeParse(head);
    if (!parsed.success || !this.#mayConnectTo(parsed.data.mailbox)) return "schema";
    const ready = parsed.data;
    const { versions, maxWorkers, ...rest } = this.#deps;
    const version = Math.max(...ready.versions.filter((v) => versions.includes(v)));
    if (version === -Infinity) return "version";
    if (!rest.protection.allows(ready.mailbox)) return "unprotected";
    if (!this.#isListed(ready)) return "unlisted";
    const actor = actorOf(ready.task, ready.from);
    this.#unproven.get(actor)?.end("replaced");
    if (!this.#byActor.has(actor) && this.#byId.size >= maxWorkers) return "full";
    const session = new PoolSession({
      ...rest,
      ready,
      version,
      incarnation: this.#incarnation,
      onHeard: (heard) => this.#onHeard(heard),
      onEnd: (ended, reason) => this.#onEnd(ended, reason),
    });
    this.#byId.set(session.id, session);
    this.#unproven.set(actor, session);
    return undefined;
  }

  /** One heartbeat to each worker; one that has been silent for too long is given up. */
  beat(): void {
    const { clock, timing } = this.#deps;
    const nowMs = clock.monotonicMs();
    const stoodStillMs = nowMs - this.#nextBeatMs;
    this.#nextBeatMs = nowMs + timing.heartbeatMs;
    for (const session of this.all()) {
      if (stoodStillMs > timing.heartbeatMs) session.forgive(stoodStillMs);
      session.beat();
    }
  }

  sweep(): void {
    const nowMs = this.#deps.clock.monotonicMs();
    for (const session of this.#byId.values()) session.sweep(nowMs);
  }

  /** An address, not a name or a wildcard, and on our own transport. */
  #mayConnectTo(mailbox: string): boolean {
    try {
      const endpoint = parseEndpoint(mailbox);
      return isConcrete(endpoint) && endpoint.transport === this.#deps.transport;
    } catch {
      return false;
    }
  }

  /** Whether the key of the mailbox may act as this kind; without keys there is nothing to ask. */
  #isListed({ publicKey, from, task, mailbox }: ReadyHead): boolean {
    const why = this.#deps.protection.keys?.list.refuses(publicKey, busKindOf(task));
    if (why === undefined) return true;
    const fields = { worker: from, task, mailbox, publicKey };
    this.#refusals.tell(`${String(publicKey)} ${task} ${why}`, fields, `worker refused: ${why}`);
    return false;
  }

  /** The allow list has changed. */
  #endUnlisted(): void {
    for (const session of this.all()) {
      const { publicKey, workerId: worker, kind: task } = session;
      const why = this.#deps.protection.keys?.list.refuses(publicKey, busKindOf(task));
      if (why === undefined) continue;
      this.#deps.log.warn({ worker, task, publicKey }, `session ends: ${why}`);
      session.end("revoked");
    }
  }

  #onHeard(session: PoolSession): void {
    if (!this.#isUnproven(session)) return;
    const actor = actorOf(session.kind, session.workerId);
    this.#unproven.delete(actor);
    const former = this.#byActor.get(actor);
    this.#byActor.set(actor, session);
    former?.end("replaced");
  }

  #isUnproven(session: PoolSession): boolean {
    return this.#unproven.get(actorOf(session.kind, session.workerId)) === session;
  }

  /** The worker never answered: nothing was placed there. */
  #tellUnproven(session: PoolSession): void {
    const { mailbox } = session.snapshot();
    const why = session.whyUnproven;
    const fields = { worker: session.workerId, task: session.kind, mailbox };
    this.#refusals.tell(`${mailbox} ${why}`, fields, `worker's mailbox: ${why}`);
  }

  #tellEnd({ kind, workerId, outstanding }: PoolSession, reason: LostReason): void {
    const { log } = this.#deps;
    const who = kind === "relay" ? "relay" : "worker";
    const seen =
      kind === "relay"
        ? { relay: workerId, reason }
        : { worker: workerId, task: kind, reason, out: outstanding.tasks };
    if (reason === "bye") log.info(seen, `${who} has left`);
    else log.warn(seen, `${who} is lost`);
  }

  #onEnd(session: PoolSession, reason: LostReason): void {
    const isUnproven = this.#isUnproven(session);
    this.#byId.delete(session.id);
    const actor = actorOf(session.kind, session.workerId);
    for (const sessions of [this.#byActor, this.#unproven]) {
      if (sessions.get(actor) === session) sessions.delete(actor);
    }
    if (isUnproven && reason !== "bye" && reason !== "revoked") {
      this.#tellUnproven(session);
      this.#deps.onEnd(session, undefined);
      return;
    }
    this.#tellEnd(session, reason);
    this.#deps.onEnd(session, reason);
  }
}
