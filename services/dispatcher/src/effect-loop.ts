import { messageOf, TerminalError } from "@rs-agent/shared/errors.ts";
import { givenBack } from "@rs-agent/shared/life/processing.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { Lane } from "@rs-agent/shared/mail/lane.ts";
import { logOutcomes } from "@rs-agent/shared/mail/outcome-log.ts";
import { adoptStep, isStub } from "@rs-agent/shared/mail/stub.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { Activity } from "./activity.ts";
import type { AwayLog } from "./away-log.ts";
import { bounceRejected } from "./bounce.ts";
import type { DispatcherConfig } from "./config.ts";
import type { Decision, Effect, Knowledge, Then } from "./effects.ts";
import { laneFor, type HeldMail } from "./held-mail.ts";
import type { HeldMails } from "./held-mails.ts";
import { advance, askAlone, die } from "./mail-flow.ts";
import type { Placement } from "./placement.ts";
import { plan } from "./planning.ts";
import { adoptVerdict } from "./results.ts";
import type { SiblingChecks } from "./sibling-checks.ts";
import type { Stubs } from "./stubs.ts";
import { createVerdictWriter } from "./verdict-writer.ts";

export interface EffectLoopDeps {
  config: Pick<DispatcherConfig, "LOG_ADDRESSES" | "MAIL_HOSTNAME" | "VERDICT_WRITE_MS">;
  database: Pick<Database, "bodies" | "mails">;
  log: Logger;
  activity: Activity;
  held: HeldMails;
  placement: Placement;
  siblings: SiblingChecks;
  stubs: Stubs;
  awayLog: AwayLog;
  know: () => Knowledge;
}

type Following = readonly Effect[] | Promise<readonly Effect[]>;

const nothing: readonly Effect[] = [];

/** Does with held mails what was decided. */
export class EffectLoop {
  readonly #deps: EffectLoopDeps;
  readonly #verdicts: { add(held: HeldMail): void };

  constructor(deps: EffectLoopDeps) {
    this.#deps = deps;
    this.#verdicts = createVerdictWriter(deps.config.VERDICT_WRITE_MS, (held) =>
      this.start([{ held, effects: [{ kind: "write" }] }]),
    );
  }

  /** The mails do not wait for each other. */
  start(decisions: readonly Decision[]): void {
    for (const { held, effects } of decisions) void this.carryOut(held, effects);
  }

  /**
   * Never rejects: an error is that mail's, and its lease ends by itself. Nothing more is done once the
   * mail is given up or lost.
   */
  async carryOut(held: HeldMail, effects: readonly Effect[]): Promise<void> {
    const due = [...effects];
    try {
      for (let effect = due.shift(); effect !== undefined && !held.over; effect = due.shift()) {
        const following = this.#do(held, effect);
        due.push(...(following instanceof Promise ? await following : following));
      }
    } catch (error) {
      this.#deps.log.warn({ mailId: held.mail._id, err: error }, "mail left to its lease's end");
      this.#deps.held.abandon(held);
    }
  }

  /** What follows from it is done after what is due already. */
  #do(mail: HeldMail, effect: Effect): Following {
    const { activity, awayLog, config, database, held, know, log, placement } = this.#deps;
    const { siblings, stubs } = this.#deps;
    switch (effect.kind) {
      case "read record":
        return stubs.read(mail).then(() => nothing);
      case "plan":
        return plan(know(), mail);
      case "ask":
        if (effect.task === "enrich") return [{ kind: "ask alone", task: effect.task }];
        return siblings.join(mail, effect.task);
      case "ask alone":
        return askAlone(know(), mail, effect.task);
      case "adopt":
        mail.asked.delete(effect.check);
        activity.onShared(effect.check);
        return adoptVerdict(mail, effect.check, effect.verdict);
      case "place":
        this.start(placement.enqueue(mail, effect.lane));
        return nothing;
      case "load":
        return this.#load(mail, effect.lane);
      case "go on":
        return advance(know(), mail);
      case "write":
        return this.#after(mail, held.write(mail), effect.then);
      case "write soon":
        this.#verdicts.add(mail);
        return nothing;
      case "insert": {
        const insert = () => Promise.all(effect.mails.map((each) => database.mails.insert(each)));
        return this.#after(mail, held.untilAnswered(mail, insert), effect.then);
      }
      case "finish":
        return held.finish(mail).then(() => nothing);
      case "give back":
        return this.#giveBack(mail, effect.step, effect.reason);
      case "bury":
        if (!isStub(mail.mail)) return die(know(), mail, effect.cause, effect.reason);
        return stubs.bury(mail, effect.cause, effect.reason).then(() => nothing);
      case "report": {
        const { now } = know().moment;
        const { reason, then } = effect;
        const report = () => bounceRejected(database, config.MAIL_HOSTNAME, mail, reason, now);
        return this.#after(mail, held.untilAnswered(mail, report), then);
      }
      case "store body": {
        const put = () => database.bodies.put(effect.bytes);
        return this.#after(mail, held.untilAnswered(mail, put), effect.then);
      }
      case "share":
        this.start(siblings.onVerdict(mail, effect.check, effect.verdict));
        return nothing;
      case "log outcomes":
        logOutcomes(log, config.LOG_ADDRESSES, mail.mail, "none", effect.outcomes, effect.now);
        return nothing;
      case "count arrival":
        activity.onArrived(effect.task);
        return nothing;
      case "count strikes":
        activity.onStrikes(effect.task, effect.count);
        return nothing;
      case "tell away":
        awayLog.tell(effect.lane);
        return nothing;
    }
  }

  /** Once the database has answered, what follows by what is known then. */
  async #after<T>(mail: HeldMail, done: Promise<T>, then?: Then<T>): Promise<readonly Effect[]> {
    const result = await done;
    return mail.over || then === undefined ? nothing : then(this.#deps.know(), result);
  }

  /** A body that is gone or damaged is a dead letter; anything else is tried again by others. */
  async #load(mail: HeldMail, lane: Lane): Promise<readonly Effect[]> {
    const { held, placement } = this.#deps;
    try {
      const isThere = await held.load(mail);
      this.start(placement.loaded(mail, lane, isThere));
      return nothing;
    } catch (error) {
      placement.remove(mail, lane);
      if (!(error instanceof TerminalError)) throw error;
      const reason = `${error.code}: ${messageOf(error)}`;
      return [{ kind: "bury", cause: "incomplete", reason }];
    }
  }

  async #giveBack(mail: HeldMail, step: TaskKind | "plan", reason?: string) {
    const next = step === "plan" ? step : laneFor(mail, step);
    mail.note(givenBack(mail.mail, { next: isStub(mail.mail) ? adoptStep : next, reason }));
    await this.#deps.held.finish(mail);
    return nothing;
  }
}
