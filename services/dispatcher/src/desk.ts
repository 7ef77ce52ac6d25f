import type {
  LostTask,
  TaskResult,
  WorkerPool,
  WorkerSnapshot,
} from "@rs-agent/shared/bus/worker-pool.ts";
import type { Clock } from "@rs-agent/shared/clock.ts";
import { messageOf, TerminalError } from "@rs-agent/shared/errors.ts";
import type { DeathCause } from "@rs-agent/shared/life/events.ts";
import { givenBack } from "@rs-agent/shared/life/processing.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { kindOf, laneIn, serves, type Lane } from "@rs-agent/shared/mail/lane.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { adoptStep, isStub } from "@rs-agent/shared/mail/stub.ts";
import type { ClaimedMail } from "@rs-agent/shared/store/mails.ts";
import type { PoliciesInForce } from "@rs-agent/shared/store/policies-in-force.ts";
import { whyPoison } from "@rs-agent/shared/store/poison.ts";
import type { Activity } from "./activity.ts";
import { AwayLog } from "./away-log.ts";
import { Backlogs } from "./backlogs.ts";
import { bounceRejected } from "./bounce.ts";
import type { DispatcherConfig } from "./config.ts";
import { hold, isNewTo, laneFor, note, type HeldMail } from "./held-mail.ts";
import { HeldMails } from "./held-mails.ts";
import { advance, die, forgetTransientVerdicts, noteEngineAway } from "./mail-flow.ts";
import { createPlacement, type Placement } from "./placement.ts";
import { plan, type PlanningDeps } from "./planning.ts";
import { adoptVerdict, onLost, onResult, type ResultDeps } from "./results.ts";
import type { Sources } from "./sources.ts";
import { createStubs, type Stubs } from "./stubs.ts";
import { SiblingChecks } from "./sibling-checks.ts";
import type { Spool } from "./spool.ts";
import { isSeen, placed, toSpool } from "./spool-placement.ts";
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
  readonly #flow: ResultDeps;
  readonly #planning: PlanningDeps;
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
    this.#flow = this.#createFlow();
    this.#planning = this.#createPlanning();
    this.#stubs = this.#createStubs();
  }

  /** Takes in claimed mail: each gets its plan and its first task. */
  async take(claimed: readonly ClaimedMail[]): Promise<void> {
    await Promise.all(
      claimed.map(async (each) => {
        const mail = hold(each);
        this.held.add(mail);
        await this.#begin(mail).catch((error: unknown) => this.#leave(mail, error));
      }),
    );
  }

  /** Takes in a suspect, or gives it up; settles when it is no longer in hand. */
  async takeAlone(claimed: ClaimedMail): Promise<void> {
    const mail = hold(claimed);
    this.held.add(mail);
    const why = whyPoison(claimed.mail, claimed.token);
    const work = why === undefined ? this.#begin(mail) : this.#bury(mail, "services-ended", why);
    await work.catch((error: unknown) => this.#leave(mail, error));
    await mail.left.promise;
  }

  onResult(result: TaskResult): void {
    this.#settleTask(result.taskId, () => onResult(this.#flow, result));
  }

  onLost(lost: LostTask): void {
    this.#settleTask(lost.taskId, () => onLost(this.#flow, lost));
  }

  /** Some worker of this lane can do its work: it may be waited for. */
  isAble(lane: Lane): boolean {
    return this.#deps.pool.workers().some((each) => serves(each, lane) && isAbleNow(each));
  }

  /**
   * Mails to claim for a task: what its workers take now. Out of a backlog as many again as they
   * have: a claim takes a moment, in which no engine should stand still.
   */
  roomToClaim(lane: Lane, hasBacklog = this.backlogs.has(lane)): number {
    const isAhead = hasBacklog && !this.isPaused(kindOf(lane));
    return this.placement.room(lane, isAhead ? this.#granted(lane) : 0);
  }

  #granted(lane: Lane): number {
    const able = this.#deps.pool.workers().filter((each) => serves(each, lane) && isAbleNow(each));
    return able.reduce((sum, { grant }) => sum + grant.tasks, 0);
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
    const { spool, database } = this.#deps;
    await spool?.sweep(async (mailId, token) => {
      const mail = await database.mails.get(mailId);
      return mail?.lease?.token === token && mail.lease.until > database.clock.now();
    });
  }

  /** Lets tasks at workers end, gives everything else back. Aborting leaves it to the leases. */
  async drain(signal?: AbortSignal): Promise<void> {
    this.#draining = true;
    await drained(this.held, (mail, next) => this.#giveBack(mail, next), signal);
  }

  async #begin(mail: HeldMail): Promise<void> {
    if (isStub(mail.mail) && (await this.#stubs.read(mail)) === "over") return;
    forgetTransientVerdicts(mail);
    if ((await plan(this.#planning, mail)) === "over") return;
    noteEngineAway(this.#flow, mail, this.#deps.database.clock.now());
    await advance(this.#flow, mail);
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
    note(mail, givenBack(mail.mail, { next, reason }));
    return this.held.finish(mail);
  }

  /** Nobody awaits what is done for one mail: an error is that mail's, and its lease ends by itself. */
  #settle(mail: HeldMail, work: Promise<unknown> | undefined): void {
    work?.catch((error: unknown) => this.#leave(mail, error));
  }

  #settleTask(taskId: string, run: () => Promise<void>): void {
    const mail = this.held.ofTask(taskId);
    if (mail !== undefined) this.#settle(mail, run());
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

  async #bury(mail: HeldMail, cause: DeathCause, reason: string): Promise<void> {
    if (isStub(mail.mail)) return this.#stubs.bury(mail, cause, reason);
    die(this.#flow, mail, cause, reason);
    await this.held.finish(mail);
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
        this.#settle(mail, adoptVerdict(this.#flow, mail, kind, verdict));
      },
    });
  }

  #createFlow(): ResultDeps {
    const { config, database, log, policies, activity } = this.#deps;
    const verdicts = createVerdictWriter(config.VERDICT_WRITE_MS, (mail) =>
      this.#settle(mail, this.held.write(mail)),
    );
    return {
      actorId: config.ACTOR_ID,
      clock: database.clock,
      log,
      logAddresses: config.LOG_ADDRESSES,
      isAble: (lane) => this.isPaused(kindOf(lane)) || this.isAble(lane),
      onAway: (lane) => this.#awayLog.tell(lane),
      enqueue: (mail, kind) => this.#ask(mail, kind),
      onArrived: (kind) => activity.onArrived(kind),
      finish: (mail) => this.held.finish(mail),
      bounce: (mail, reason, now) =>
        this.held.untilAnswered(mail, () =>
          bounceRejected(database, config.MAIL_HOSTNAME, mail, reason, now),
        ),
      isOwnSender: ({ mail, plan: its }) => {
        const recipient = mail.smtp.mailFrom;
        const owner = policies.book().planFor({ direction: "incoming", mailFrom: "", recipient });
        return owner.tenantId !== undefined && owner.tenantId === its?.tenantId;
      },
      take: (taskId) => this.held.takeTask(taskId),
      putBody: (mail, raw) => this.held.untilAnswered(mail, () => database.bodies.put(raw)),
      giveBack: (mail, next, reason) => this.#giveBack(mail, next, reason),
      writeSoon: (mail) => verdicts.add(mail),
      onVerdict: (mail, kind, verdict) => this.#siblings.onVerdict(mail, kind, verdict),
      onStrikes: (kind, count) => activity.onStrikes(kind, count),
    };
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

  #createPlanning(): PlanningDeps {
    const { config, database, log, policies } = this.#deps;
    return {
      actorId: config.ACTOR_ID,
      clock: database.clock,
      log,
      logAddresses: config.LOG_ADDRESSES,
      book: () => policies.book(),
      insert: (parent, child) =>
        this.held.untilAnswered(parent, () => database.mails.insert(child)),
      write: (mail) => this.held.write(mail),
      finish: (mail) => this.held.finish(mail),
    };
  }
}

/** Mail without a task at a worker goes back immediately; the rest as its results come. */
async function drained(
  held: HeldMails,
  giveBack: (mail: HeldMail, next: TaskKind | "plan") => Promise<void>,
  signal: AbortSignal | undefined,
): Promise<void> {
  while (held.size > 0 && signal?.aborted !== true) {
    const idle = held.all().filter((mail) => !mail.over && mail.tasks.size === 0);
    await Promise.allSettled(
      idle.map((mail) => giveBack(mail, [...mail.asked][0] ?? nextOf(mail))),
    );
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}

/** Under which `next` the record waits as long as nothing else is known. */
function nextOf(mail: HeldMail): TaskKind | "plan" {
  const lane = laneIn(mail.mail.next);
  return lane === undefined ? "plan" : kindOf(lane);
}

function isAbleNow({ state, unable }: WorkerSnapshot): boolean {
  return state === "open" && unable === undefined;
}
