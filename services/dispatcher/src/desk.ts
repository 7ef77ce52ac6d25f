import type { LostTask, TaskResult, WorkerPool } from "@rs-agent/shared/bus/worker-pool.ts";
import type { Clock } from "@rs-agent/shared/clock.ts";
import { messageOf, TerminalError } from "@rs-agent/shared/errors.ts";
import type { DeathCause } from "@rs-agent/shared/life/events.ts";
import { givenBack } from "@rs-agent/shared/life/processing.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { logOutcomes } from "@rs-agent/shared/mail/outcome-log.ts";
import { kindOf, type Lane } from "@rs-agent/shared/mail/lane.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { adoptStep, isStub } from "@rs-agent/shared/mail/stub.ts";
import type { ClaimedMail } from "@rs-agent/shared/store/mails.ts";
import type { PoliciesInForce } from "@rs-agent/shared/store/policies-in-force.ts";
import { whyPoison } from "@rs-agent/shared/store/poison.ts";
import { ableFor } from "./able-workers.ts";
import type { Activity } from "./activity.ts";
import { AwayLog } from "./away-log.ts";
import { Backlogs } from "./backlogs.ts";
import { bounceRejected, isOwnSender } from "./bounce.ts";
import type { DispatcherConfig } from "./config.ts";
import { drained } from "./draining.ts";
import type { Effect, Knowledge, Then } from "./effects.ts";
import { HeldMail, isNewTo, laneFor } from "./held-mail.ts";
import { HeldMails } from "./held-mails.ts";
import { advance, die, forgetTransientVerdicts, noteEngineAway } from "./mail-flow.ts";
import { createPlacement, type Placement } from "./placement.ts";
import { plan, type PlanningDeps } from "./planning.ts";
import { adoptVerdict, onLost, onResult, whyLost } from "./results.ts";
import type { Sources } from "./sources.ts";
import { createStubs, type Stubs } from "./stubs.ts";
import { SiblingChecks } from "./sibling-checks.ts";
import type { Spool } from "./spool.ts";
import { isSeen, placed, sweepSpool, toSpool } from "./spool-placement.ts";
import { deadlineFor, taskFor } from "./task-for.ts";
import { createVerdictWriter } from "./verdict-writer.ts";

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
 * Where held mail is worked on: from the claim to the write that gives up the lease. It joins the
 * held mails, the placement and the flow; what is decided is decided in those.
 */
export class Desk {
  readonly held: HeldMails;
  readonly placement: Placement;
  readonly backlogs = new Backlogs();
  readonly #deps: DeskDeps;
  readonly #verdicts: { add(held: HeldMail): void };
  readonly #siblings: SiblingChecks;
  readonly #stubs: Stubs;
  readonly #awayLog: AwayLog;
  #paused: ReadonlySet<string> = new Set();
  #draining = false;

  constructor(deps: DeskDeps) {
    this.#deps = deps;
    this.#awayLog = new AwayLog(deps.clock, deps.log, () => deps.pool.workers());
    this.held = this.#createHeldMails();
    this.placement = this.#createPlacement();
    this.#siblings = this.#createSiblings();
    this.#verdicts = createVerdictWriter(deps.config.VERDICT_WRITE_MS, (mail) =>
      this.#settle(mail, this.held.write(mail)),
    );
    this.#stubs = this.#createStubs();
  }

  /** Takes in claimed mail: each gets its plan and its first task. */
  async take(claimed: readonly ClaimedMail[]): Promise<void> {
    await Promise.all(
      claimed.map(async (each) => {
        const mail = new HeldMail(each);
        this.held.add(mail);
        await this.#begin(mail).catch((error: unknown) => this.#leave(mail, error));
      }),
    );
  }

  /** Takes in a suspect, or gives it up; settles when it is no longer in hand. */
  async takeAlone(claimed: ClaimedMail): Promise<void> {
    const mail = new HeldMail(claimed);
    this.held.add(mail);
    const why = whyPoison(claimed.mail, claimed.token);
    const work = why === undefined ? this.#begin(mail) : this.#bury(mail, "services-ended", why);
    await work.catch((error: unknown) => this.#leave(mail, error));
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

  /**
   * Mails to claim for a task: what its workers take now. Out of a backlog as many again as they
   * have: a claim takes a moment, in which no engine should stand still.
   */
  roomToClaim(lane: Lane, hasBacklog = this.backlogs.has(lane)): number {
    const isAhead = hasBacklog && !this.isPaused(kindOf(lane));
    const able = isAhead ? ableFor(this.#deps.pool, lane) : [];
    return this.placement.room(
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

  /** What has waited too long, for a worker or for a sibling. Called by a timer. */
  expire(): void {
    this.placement.expire();
    this.#siblings.expire();
  }

  async sweepSpool(): Promise<void> {
    if (this.#deps.spool !== undefined) await sweepSpool(this.#deps.spool, this.#deps.database);
  }

  /** Lets tasks at workers end, gives everything else back. Aborting leaves it to the leases. */
  async drain(signal?: AbortSignal): Promise<void> {
    this.#draining = true;
    await drained(this.held, (mail, next) => this.#giveBack(mail, next), signal);
  }

  async #begin(mail: HeldMail): Promise<void> {
    if (isStub(mail.mail) && (await this.#stubs.read(mail)) === "over") return;
    forgetTransientVerdicts(mail);
    if ((await plan(this.#planning(), mail)) === "over" || mail.over) return;
    const away = noteEngineAway(this.#know(), mail);
    await this.#carryOut(mail, [...away, { kind: "go on" }]);
  }

  /** Does what was decided; nothing more once the mail is given up or lost. */
  async #carryOut(mail: HeldMail, effects: readonly Effect[]): Promise<void> {
    for (const effect of effects) {
      if (mail.over) return;
      const done = this.#do(mail, effect);
      if (done !== undefined) await done;
    }
  }

  #do(mail: HeldMail, effect: Effect): Promise<unknown> | undefined {
    const { activity, config, database, log } = this.#deps;
    switch (effect.kind) {
      case "ask":
        this.#ask(mail, effect.task);
        return;
      case "go on":
        return this.#carryOut(mail, advance(this.#know(), mail));
      case "write soon":
        this.#verdicts.add(mail);
        return;
      case "finish":
        return this.held.finish(mail);
      case "give back":
        return this.#giveBack(mail, effect.task, effect.reason);
      case "report": {
        const { now } = this.#know().moment;
        return this.#after(mail, effect.then, () =>
          bounceRejected(database, config.MAIL_HOSTNAME, mail, effect.reason, now),
        );
      }
      case "store body":
        return this.#after(mail, effect.then, () => database.bodies.put(effect.bytes));
      case "share":
        this.#siblings.onVerdict(mail, effect.check, effect.verdict);
        return;
      case "log outcomes":
        logOutcomes(log, config.LOG_ADDRESSES, mail.mail, "none", effect.outcomes, effect.now);
        return;
      case "count arrival":
        activity.onArrived(effect.task);
        return;
      case "count strikes":
        activity.onStrikes(effect.task, effect.count);
        return;
      case "tell away":
        this.#awayLog.tell(effect.lane);
        return;
    }
  }

  /** Once the database has answered, what follows. */
  async #after<T>(mail: HeldMail, then: Then<T>, act: () => Promise<T>): Promise<void> {
    const done = await this.held.untilAnswered(mail, act);
    if (!mail.over) await this.#carryOut(mail, then(this.#know(), done));
  }

  #know(): Knowledge {
    const { config, database, policies } = this.#deps;
    return {
      moment: { now: database.clock.now(), by: config.ACTOR_ID },
      isAble: (lane) => this.isPaused(kindOf(lane)) || this.isAble(lane),
      isOwnSender: (mail) => isOwnSender(policies.book(), mail),
    };
  }

  #ask(mail: HeldMail, kind: TaskKind): void {
    if (mail.over) return;
    if (kind !== "enrich" && this.#siblings.join(mail, kind)) mail.asked.add(kind);
    else this.#askForItself(mail, kind);
  }

  /** Where older mail waits for this task in the database, a mail that was not claimed for it joins that. */
  #askForItself(mail: HeldMail, kind: TaskKind): void {
    mail.asked.delete(kind);
    if (isNewTo(mail, kind)) this.#deps.activity.onArrived(kind);
    const isBusy = mail.tasks.size > 0 || mail.asked.size > 0;
    const lane = laneFor(mail, kind);
    if (this.backlogs.has(lane) && mail.mail.next !== lane && !isBusy) {
      this.#settle(mail, this.#giveBack(mail, kind));
      return;
    }
    mail.asked.add(kind);
    this.placement.enqueue(mail, lane);
  }

  #giveBack(mail: HeldMail, kind: TaskKind | "plan", reason?: string): Promise<void> {
    const step = kind === "plan" ? kind : laneFor(mail, kind);
    const next = isStub(mail.mail) ? adoptStep : step;
    mail.note(givenBack(mail.mail, { next, reason }));
    return this.held.finish(mail);
  }

  /** Nobody awaits what is done for one mail: an error is that mail's, and its lease ends by itself. */
  #settle(mail: HeldMail, work: Promise<unknown> | undefined): void {
    work?.catch((error: unknown) => this.#leave(mail, error));
  }

  #taskEnded(taskId: string, decide: (mail: HeldMail) => Effect[]): void {
    const mail = this.held.takeTask(taskId);
    if (mail !== undefined) this.#settle(mail, this.#carryOut(mail, decide(mail)));
  }

  #leave(mail: HeldMail, error: unknown): void {
    this.#deps.log.warn({ mailId: mail.mail._id, err: error }, "mail left to its lease's end");
    this.held.abandon(mail);
  }

  /** A body that is gone or damaged is a dead letter; anything else is tried again by others. */
  async #failed(mail: HeldMail, error: unknown): Promise<void> {
    if (!(error instanceof TerminalError)) throw error;
    await this.#bury(mail, "incomplete", `${error.code}: ${messageOf(error)}`);
  }

  #bury(mail: HeldMail, cause: DeathCause, reason: string): Promise<void> {
    if (isStub(mail.mail)) return this.#stubs.bury(mail, cause, reason);
    return this.#carryOut(mail, die(this.#know(), mail, cause, reason));
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
      onFinished: ({ mail }) => activity.onFinished(mail.state),
      onLeft: (mail) => {
        if (mail.spoolPath !== undefined) this.#settle(mail, spool?.remove(mail.spoolPath));
      },
    });
  }

  #createPlacement(): Placement {
    const { config, clock, pool, spool } = this.#deps;
    return createPlacement({
      pool,
      monotonicMs: () => clock.monotonicMs(),
      placeMs: config.PLACE_MS,
      isOurs: (mail) => this.held.isOurs(mail),
      load: (mail) => this.held.load(mail),
      send: (mail, kind) => {
        const sent = placed(pool, spool, mail, kind, taskFor(mail, kind, config));
        if (sent === undefined) return false;
        this.held.taskSent(mail, sent.taskId, kind);
        return true;
      },
      giveBack: (mail, lane) => {
        this.backlogs.begin(lane);
        this.#settle(mail, this.#giveBack(mail, kindOf(lane)));
      },
      onError: (mail, error) => this.#settle(mail, this.#failed(mail, error)),
      isPaused: (kind) => this.#draining || this.isPaused(kind),
    });
  }

  #createSiblings(): SiblingChecks {
    const { config, clock, activity } = this.#deps;
    return new SiblingChecks({
      monotonicMs: () => clock.monotonicMs(),
      patienceMs: ({ mail }) => deadlineFor(mail.body, config),
      askAgain: (mail, kind) => this.#ask(mail, kind),
      askForItself: (mail, kind) => this.#askForItself(mail, kind),
      adopt: (mail, kind, verdict) => {
        if (mail.over) return;
        mail.asked.delete(kind);
        activity.onShared(kind);
        this.#settle(mail, this.#carryOut(mail, adoptVerdict(mail, kind, verdict)));
      },
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

  #planning(): PlanningDeps {
    const { database, policies } = this.#deps;
    return {
      moment: () => this.#know().moment,
      book: () => policies.book(),
      insert: (parent, child) =>
        this.held.untilAnswered(parent, () => database.mails.insert(child)),
      write: (mail) => this.held.write(mail),
      carryOut: (mail, effects) => this.#carryOut(mail, effects),
    };
  }
}
