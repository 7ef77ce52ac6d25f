import type { LostTask, TaskResult, WorkerPool } from "@rs-agent/shared/bus/worker-pool.ts";
import type { Clock } from "@rs-agent/shared/clock.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { kindOf, type Lane } from "@rs-agent/shared/mail/lane.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { isStub } from "@rs-agent/shared/mail/stub.ts";
import type { ClaimedMail } from "@rs-agent/shared/store/mails.ts";
import type { PoliciesInForce } from "@rs-agent/shared/store/policies-in-force.ts";
import { whyPoison } from "@rs-agent/shared/store/poison.ts";
import { NeededTimer } from "@rs-agent/shared/needed-timer.ts";
import { ableFor } from "./able-workers.ts";
import type { Activity } from "./activity.ts";
import { AwayLog } from "./away-log.ts";
import { Backlogs } from "./backlogs.ts";
import type { DispatcherConfig } from "./config.ts";
import { drained } from "./draining.ts";
import { EffectLoop } from "./effect-loop.ts";
import type { Effect, Knowledge } from "./effects.ts";
import { HeldMail } from "./held-mail.ts";
import { HeldMails } from "./held-mails.ts";
import { createPlacement, type Placement } from "./placement.ts";
import { onLost, onResult, whyLost } from "./results.ts";
import type { Sources } from "./sources.ts";
import { createStubs, type Stubs } from "./stubs.ts";
import { SiblingChecks } from "./sibling-checks.ts";
import type { Spool } from "./spool.ts";
import { fromSpool, isSeen, placed, sweepSpool, toSpool } from "./spool-placement.ts";
import { deadlineFor, taskFor } from "./task-for.ts";

export interface DeskDeps {
  config: DispatcherConfig;
  database: Database;
  clock: Clock;
  log: Logger;
  pool: WorkerPool;
  policies: PoliciesInForce;
  sources: Sources;
  spool: Spool | undefined;
  activity: Activity;
  /** Aborts when the dispatcher stops now: nobody waits for the database any more. */
  closing: AbortSignal;
}

/**
 * Where held mail is worked on: from the claim to the write that gives up the lease. What happens to a
 * mail comes in here; what follows is decided elsewhere, and done by the loop.
 */
export class Desk {
  readonly held: HeldMails;
  readonly backlogs = new Backlogs();
  readonly #deps: DeskDeps;
  readonly #placement: Placement;
  readonly #siblings: SiblingChecks;
  readonly #loop: EffectLoop;
  /** What has waited too long, for a worker or for a sibling. */
  readonly #expiring = new NeededTimer({
    everyMs: 250,
    run: () => {
      this.#loop.start(this.#placement.expire());
      this.#loop.start(this.#siblings.expire());
    },
    isNeeded: () => this.held.size > 0,
  });
  #paused: ReadonlySet<string> = new Set();
  #draining = false;

  constructor(deps: DeskDeps) {
    const { clock, config, log, pool } = deps;
    this.#deps = deps;
    this.held = this.#createHeldMails();
    this.#placement = this.#createPlacement();
    this.#siblings = new SiblingChecks({
      monotonicMs: () => clock.monotonicMs(),
      patienceMs: ({ mail }) => deadlineFor(mail.body, config),
    });
    this.#loop = new EffectLoop({
      ...deps,
      held: this.held,
      placement: this.#placement,
      siblings: this.#siblings,
      stubs: this.#createStubs(),
      awayLog: new AwayLog(clock, log, () => pool.workers()),
      know: () => this.#know(),
    });
  }

  /** Takes in claimed mail: each gets its plan and its first task. */
  async take(claimed: readonly ClaimedMail[]): Promise<void> {
    await Promise.all(claimed.map((each) => this.#begin(new HeldMail(each))));
  }

  /** Takes in a suspect, or gives it up; settles when it is no longer in hand. */
  async takeAlone(claimed: ClaimedMail): Promise<void> {
    const mail = new HeldMail(claimed);
    const reason = whyPoison(claimed.mail, claimed.holding.token);
    if (reason === undefined) await this.#begin(mail);
    else await this.#begin(mail, [{ kind: "bury", cause: "services-ended", reason }]);
    await mail.left;
  }

  onResult(result: TaskResult): void {
    this.#taskEnded(result.taskId, (mail) => onResult(this.#know(), mail, result));
  }

  onLost(lost: LostTask): void {
    this.#taskEnded(lost.taskId, (mail) => {
      const { mailId, kind: task, workerId: worker } = lost;
      this.#deps.log.warn({ mailId, task, worker, reason: whyLost(lost) }, "task lost");
      return onLost(this.#know(), mail, lost);
    });
  }

  /** Some worker of this lane can do its work: it may be waited for. */
  isAble(lane: Lane): boolean {
    return ableFor(this.#deps.pool, lane).length > 0;
  }

  /** Tasks of this lane that could be placed beyond those that wait already. */
  room(lane: Lane): number {
    return this.#placement.room(lane);
  }

  /** How many wait for a worker of this kind. */
  waiting(kind: TaskKind): number {
    return this.#placement.waiting(kind);
  }

  /**
   * Mails to claim for a task: what its workers take now. Out of a backlog as many again as they
   * have: a claim takes a moment, in which no engine should stand still.
   */
  roomToClaim(lane: Lane, hasBacklog = this.backlogs.has(lane)): number {
    const isAhead = hasBacklog && !this.isPaused(kindOf(lane));
    const able = isAhead ? ableFor(this.#deps.pool, lane) : [];
    return this.#placement.room(
      lane,
      able.reduce((sum, { grant }) => sum + grant.tasks, 0),
    );
  }

  /** Steps that a person has paused get no tasks. */
  pause(steps: ReadonlySet<string>): void {
    this.#paused = steps;
  }

  isPaused(step: string): boolean {
    return this.#paused.has(step);
  }

  /** Workers of this kind may take more than before. */
  poke(kind: TaskKind): void {
    this.#loop.start(this.#placement.poke(kind));
  }

  /** After the last mail has left, or at once. */
  close(): void {
    this.#expiring.close();
  }

  async sweepSpool(): Promise<void> {
    if (this.#deps.spool !== undefined) await sweepSpool(this.#deps.spool, this.#deps.database);
  }

  /** Lets tasks at workers end, gives everything else back. Aborting leaves it to the leases. */
  async drain(signal?: AbortSignal): Promise<void> {
    this.#draining = true;
    await drained(this.held, (mail, back) => this.#loop.carryOut(mail, [back]), signal);
  }

  #begin(mail: HeldMail, effects = beginningOf(mail)): Promise<void> {
    this.held.add(mail);
    this.#expiring.need();
    return this.#loop.carryOut(mail, effects);
  }

  #taskEnded(taskId: string, decide: (mail: HeldMail) => Effect[]): void {
    const held = this.held.takeTask(taskId);
    if (held !== undefined) this.#loop.start([{ held, effects: decide(held) }]);
  }

  #know(): Knowledge {
    const { config, database, policies } = this.#deps;
    return {
      moment: { now: database.clock.now(), by: config.ACTOR_ID },
      isAble: (lane) => this.isPaused(kindOf(lane)) || this.isAble(lane),
      hasBacklog: (lane) => this.backlogs.has(lane),
      book: policies.book(),
    };
  }

  #createHeldMails(): HeldMails {
    const { config, database, clock, log, pool, spool, activity, closing } = this.#deps;
    return new HeldMails({
      closing,
      mails: database.mails,
      readBody: (ref) => database.bodies.get(ref),
      onRead: async (mail, raw) => {
        if (spool !== undefined && isSeen(pool, spool, mail)) await toSpool(spool, mail, raw, log);
      },
      clock,
      log,
      leaseMs: config.LEASE_MS,
      maxMails: config.MAX_HELD_MAILS,
      maxBytes: config.MAX_HELD_BYTES,
      cancelTask: (taskId) => {
        pool.cancel(taskId);
      },
      onFinished: ({ mail }) => {
        activity.onFinished(mail.state);
        if (mail.state === "ready" && mail.next !== undefined) pool.tellRelay(mail.next, mail._id);
      },
      onLeft: (mail) => {
        if (spool !== undefined) void fromSpool(spool, mail, log);
        this.#loop.start(this.#siblings.onLeft(mail));
      },
    });
  }

  #createPlacement(): Placement {
    const { config, clock, pool, spool } = this.#deps;
    return createPlacement({
      pool,
      monotonicMs: () => clock.monotonicMs(),
      placeMs: config.PLACE_MS,
      backlogs: this.backlogs,
      isOurs: (mail) => this.held.isOurs(mail),
      send: (mail, kind) => {
        const sent = placed(pool, spool, mail, kind, taskFor(mail, kind, config));
        if (sent === undefined) return false;
        this.held.taskSent(mail, sent.taskId, kind);
        return true;
      },
      isPaused: (kind) => this.#draining || this.isPaused(kind),
    });
  }

  #createStubs(): Stubs {
    const { config, database, log, policies, sources } = this.#deps;
    const { MAIL_HOSTNAME: hostname, MAX_MAIL_BYTES: maxMailBytes } = config;
    return createStubs({
      sources,
      store: database.sources,
      held: this.held,
      rules: { hostname, maxMailBytes, book: () => policies.book() },
      clock: database.clock,
      log,
    });
  }
}

function beginningOf({ mail }: HeldMail): readonly Effect[] {
  return isStub(mail) ? [{ kind: "read record" }, { kind: "plan" }] : [{ kind: "plan" }];
}
