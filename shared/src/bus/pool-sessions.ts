import type { Clock } from "../clock.ts";
import { newToken } from "../ids.ts";
import type { Logger } from "../logger.ts";
import type { TaskKind } from "../mail/verdict.ts";
import type { DropCause } from "./drop-counter.ts";
import { isConcrete, parseEndpoint, type Endpoint } from "./endpoint.ts";
import { PoolSession } from "./pool-session.ts";
import type { LostReason, LostTask } from "./pool-task.ts";
import type { BusProtection } from "./protection.ts";
import type { BusTiming } from "./timing.ts";
import { readyHeadSchema } from "./wire.ts";

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
  onEnd: (session: PoolSession) => void;
  onUnsendable: () => void;
}

/** The dispatcher's sessions: one for each worker, opened by its `ready`. */
export class PoolSessions {
  readonly #deps: PoolSessionsDeps;
  readonly #incarnation = newToken();
  readonly #byId = new Map<string, PoolSession>();
  readonly #byWorker = new Map<string, PoolSession>();
  #nextBeatMs: number;

  constructor(deps: PoolSessionsDeps) {
    this.#deps = deps;
    this.#nextBeatMs = deps.clock.monotonicMs() + deps.timing.heartbeatMs;
  }

  /** A copy: sessions may end while one goes through it. */
  all(): PoolSession[] {
    return [...this.#byId.values()];
  }

  get(sessionId: string): PoolSession | undefined {
    return this.#byId.get(sessionId);
  }

  *ofKind(kind: TaskKind): Generator<PoolSession> {
    for (const session of this.#byId.values()) if (session.kind === kind) yield session;
  }

  /** Answers a `ready`: the worker's former session, if any, ends and its tasks go to others. */
  open(head: Record<string, unknown>): DropCause | undefined {
    const parsed = readyHeadSchema.safeParse(head);
    if (!parsed.success || !this.#mayConnectTo(parsed.data.mailbox)) return "schema";
    const ready = parsed.data;
    const { versions, maxWorkers, protection, ...rest } = this.#deps;
    const version = Math.max(...ready.versions.filter((v) => versions.includes(v)));
    if (version === -Infinity) return "version";
    if (!protection.allows(ready.mailbox)) return "unprotected";
    const former = this.#byWorker.get(ready.from);
    if (former === undefined && this.#byId.size >= maxWorkers) return "full";
    former?.end("replaced");
    const session = new PoolSession({
      ...rest,
      ready,
      version,
      incarnation: this.#incarnation,
      onEnd: (ended, reason) => this.#onEnd(ended, reason),
    });
    this.#byId.set(session.id, session);
    this.#byWorker.set(session.workerId, session);
    return undefined;
  }

  /** One heartbeat to each worker; who has been silent for too long is given up. */
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

  #onEnd(session: PoolSession, reason: LostReason): void {
    this.#byId.delete(session.id);
    if (this.#byWorker.get(session.workerId) === session) this.#byWorker.delete(session.workerId);
    const seen = { worker: session.workerId, task: session.kind, reason };
    if (reason === "bye") this.#deps.log.info(seen, "worker has left");
    else this.#deps.log.warn({ ...seen, out: session.outstanding.tasks }, "worker is lost");
    this.#deps.onEnd(session);
  }
}
