import { died, ended, held as heldBack } from "@rs-agent/shared/life/endings.ts";
import type { DeathCause, HoldCause, Moment } from "@rs-agent/shared/life/events.ts";
import { ends, isOpen, type FinalOutcome } from "@rs-agent/shared/life/outcomes.ts";
import { checkWaits, ready, verdictKnown } from "@rs-agent/shared/life/processing.ts";
import { workerText } from "@rs-agent/shared/mail/lane.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import { answeredIn } from "@rs-agent/shared/checks/verdict.ts";
import { isTransient } from "@rs-agent/shared/checks/finding.ts";
import { nextStep, uncheckedVerdict, type Step } from "@rs-agent/shared/policy/disposition.ts";
import type { Disposition } from "@rs-agent/shared/checks/consequence.ts";
import type { Plan } from "@rs-agent/shared/mail/plan.ts";
import { askedIn, checksIn } from "@rs-agent/shared/checks/asked.ts";
import { isFromStrangers } from "@rs-agent/shared/mail/direction.ts";
import { mayBounce } from "@rs-agent/shared/mail/dsn.ts";
import type { Effect, Knowledge } from "./effects.ts";
import { isOwnSender } from "./bounce.ts";
import { isNewTo, laneFor, type HeldMail } from "./held-mail.ts";

/** Milliseconds between two tries of a check that could not be made: less often the longer it lasts. */
const recheckMs = [2_000, 5_000, 10_000, 30_000] as const;
/** A mail that policy holds (an unreadable key) is tried again after this time. */
const heldRetryMs = 60_000;

/**
 * Takes a held mail one step on: asks the policy's pure function what is next. Called after each claim
 * and each result.
 */
export function advance(know: Knowledge, held: HeldMail): Effect[] {
  const { plan, mail } = held;
  if (held.over || plan === undefined) return [];
  const step = nextStep({
    plan,
    verdicts: mail.verdicts,
    enriched: mail.enriched,
    overrides: mail.overrides,
    uncheckedSince: mail.uncheckedSince,
    rawSha256: mail.body.sha256,
    now: know.moment.now,
  });
  if (step.kind === "check" || step.kind === "enrich") return ask(held, step);
  // Parallel checks: what one of them decides must not end the lease under the other one's task.
  if (held.tasks.size > 0 && (step.kind === "wait" || step.kind === "ready")) return [];
  return conclude(know, held, plan, step);
}

function ask(held: HeldMail, step: Step & { kind: "check" | "enrich" }): Effect[] {
  const wanted: readonly TaskKind[] = step.kind === "enrich" ? ["enrich"] : step.tasks;
  if (step.kind === "enrich") held.disposition = step.disposition;
  const atWork = new Set(held.tasks.values());
  if (step.kind === "enrich" && atWork.size > 0) return [];
  return wanted
    .filter((task) => !atWork.has(task) && !held.asked.has(task))
    .map((task) => ({ kind: "ask", task }));
}

/** Where older mail waits for this task in the database, a mail that was not claimed for it joins that. */
export function askAlone(know: Knowledge, held: HeldMail, task: TaskKind): Effect[] {
  held.asked.delete(task);
  const arrival: Effect[] = isNewTo(held, task) ? [{ kind: "count arrival", task }] : [];
  const isBusy = held.tasks.size > 0 || held.asked.size > 0;
  const lane = laneFor(held, task);
  if (know.hasBacklog(lane) && held.mail.next !== lane && !isBusy) {
    return [...arrival, { kind: "give back", step: task }];
  }
  held.asked.add(task);
  return [...arrival, { kind: "place", lane }];
}

type Conclusion = Exclude<Step, { kind: "check" | "enrich" }>;

function conclude(know: Knowledge, held: HeldMail, plan: Plan, step: Conclusion): Effect[] {
  switch (step.kind) {
    case "wait": {
      const isNew = isNewTo(held, step.check);
      held.note(waitChange(know, held, step));
      return isNew ? [{ kind: "count arrival", task: step.check }, finish] : [finish];
    }
    case "ready":
      return passOn(know, held, plan, step.disposition);
    case "hold":
      return hold(know, held, "policy", step.reason);
    case "quarantine":
      return end(know, held, "quarantined", step);
    case "discard":
      return end(know, held, "discarded", step);
    case "reject":
      return reject(know, held, step);
  }
}

const finish: Effect = { kind: "finish" };

/**
 * The sender is told before the outcome is final, but only one of the tenant whose mail it is: a
 * forged sender gets no backscatter, and if nobody may be told it is a dead letter.
 */
function reject(know: Knowledge, held: HeldMail, step: Judged): Effect[] {
  const { mail } = held;
  const { reason } = step;
  if (isFromStrangers(mail) || (mail.smtp.mailFrom !== "" && !isOwnSender(know.book, held))) {
    return end(know, held, "quarantined", step);
  }
  if (!mayBounce(mail)) return die(know, held, "double-bounce", `double-bounce: ${reason}`);
  return [{ kind: "report", reason, then: (then) => end(then, held, "bounced", step) }];
}

/** What policy makes of the verdicts, if the mail does not leave. */
interface Judged {
  kind: Disposition;
  reason: string;
}

function end(
  { moment }: Knowledge,
  held: HeldMail,
  outcome: "quarantined" | "discarded" | "bounced",
  { kind: disposition, reason }: Judged,
): Effect[] {
  const told = toldOf(held, outcome, reason, moment);
  held.note(ended(held.mail, { outcome, disposition, reason, ...moment }));
  return [told, finish];
}

/** A dead letter. */
export function die(
  { moment }: Pick<Knowledge, "moment">,
  held: HeldMail,
  cause: DeathCause,
  reason: string,
): Effect[] {
  const told = toldOf(held, "dead", reason, moment);
  held.note(died(held.mail, { cause, reason, ...moment }));
  return [told, finish];
}

/** A line for each open recipient, which this closes. */
function toldOf(
  { mail }: HeldMail,
  outcome: FinalOutcome,
  reason: string,
  { now }: Moment,
): Effect {
  const dsn = ends[outcome].status;
  const outcomes = mail.recipients
    .filter(isOpen)
    .map(({ address }) => ({ address, status: outcome, dsn, reply: reason }));
  return { kind: "log outcomes", outcomes, now };
}

function hold(
  { moment }: Knowledge,
  held: HeldMail,
  cause: HoldCause,
  reason: string,
  retryAt?: Date,
): Effect[] {
  held.note(heldBack(held.mail, { cause, reason, retryAt, ...moment }));
  return [finish];
}

/** A scan-only source has delivered the mail itself: its verdicts are the result. */
function passOn(
  know: Knowledge,
  held: HeldMail,
  plan: Plan,
  disposition: "deliver" | "tag",
): Effect[] {
  if (held.mail.origin.scanOnly === true) {
    const reason = "scan-only source: checked, never relayed";
    return end(know, held, "discarded", { kind: disposition, reason });
  }
  const enriched = plan.enrich === undefined ? undefined : held.mail.enriched;
  held.note(ready(held.mail, { plan, disposition, enriched, ...know.moment }));
  return [finish];
}

function waitChange(know: Knowledge, held: HeldMail, step: Step & { kind: "wait" }) {
  const { check, reason } = step;
  const since =
    held.mail.uncheckedSince?.check === check ? held.mail.uncheckedSince.at : know.moment.now;
  const finding = held.mail.verdicts[check]?.finding;
  const said = finding?.kind === "unchecked" ? finding.detail : undefined;
  return checkWaits(held.mail, {
    check,
    unchecked: reason,
    since,
    next: laneFor(held, check),
    retryAt: retryAt(know, held, step, since),
    reason: `${check} check waits, ${reason}${said === undefined ? "" : `: ${said}`}`,
  });
}

/** If no worker is able, credit alone decides: the mail is due immediately, in its old place. */
function retryAt(
  { isAble, moment: { now } }: Knowledge,
  held: HeldMail,
  { check, until }: Step & { kind: "wait" },
  since: Date,
): Date {
  if (!isAble(laneFor(held, check))) return held.mail.receivedAt;
  const waited = now.getTime() - since.getTime();
  const delayMs = recheckMs.find((ms) => waited < ms * 3) ?? 60_000;
  return new Date(Math.min(now.getTime() + delayMs, until.getTime()));
}

/**
 * A check that could not be made is asked again after each claim; the record keeps the old answer
 * for `explain` until a new one comes.
 */
export function forgetTransientVerdicts(held: HeldMail): void {
  const verdicts = { ...held.mail.verdicts };
  for (const check of answeredIn(verdicts)) {
    const finding = verdicts[check]?.finding;
    if (finding?.kind === "unchecked" && isTransient(finding.reason)) {
      Reflect.deleteProperty(verdicts, check);
    }
  }
  held.mail = { ...held.mail, verdicts };
}

/**
 * With no able worker of a kind there is no answer to wait by: that is `unchecked: engine-away`, from
 * when it was first seen, so that the policy's `wait` runs out also while an engine is gone.
 */
export function noteEngineAway(
  { isAble, moment: { now, by: worker } }: Knowledge,
  held: HeldMail,
): Effect[] {
  const effects: Effect[] = [];
  for (const check of checksIn(held.plan)) {
    const asked = askedIn(held.plan, check);
    const answered = held.mail.verdicts[check];
    if (asked === undefined || answered !== undefined) continue;
    const lane = laneFor(held, check);
    if (isAble(lane)) continue;
    effects.push({ kind: "tell away", lane });
    const verdict = uncheckedVerdict({
      reason: "engine-away",
      detail: `no ${workerText(lane)} is able`,
      settingsHash: asked.settingsHash,
      sha256: held.mail.body.sha256,
      worker,
      now,
    });
    held.note(verdictKnown(check, verdict));
    if (held.plan?.order === "sequential") break;
  }
  return effects;
}

/**
 * The enricher cannot do now what policy demands: never sent without it (I10). It is tried again, unless
 * that is of no use before a person has acted.
 */
export function holdUnable(
  know: Knowledge,
  held: HeldMail,
  reason: string,
  { forPerson = false }: { forPerson?: boolean } = {},
): Effect[] {
  const retryAt = new Date(know.moment.now.getTime() + heldRetryMs);
  return hold(know, held, "unable", reason, forPerson ? undefined : retryAt);
}
