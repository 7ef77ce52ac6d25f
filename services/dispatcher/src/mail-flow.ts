import type { Clock } from "@rs-agent/shared/clock.ts";
import { died, ended, held as heldBack } from "@rs-agent/shared/life/endings.ts";
import type { DeathCause, HoldCause, Moment } from "@rs-agent/shared/life/events.ts";
import { ends, isOpen, type FinalOutcome } from "@rs-agent/shared/life/outcomes.ts";
import { checkWaits, ready, verdictKnown } from "@rs-agent/shared/life/processing.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { workerText, type Lane } from "@rs-agent/shared/mail/lane.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import { answeredIn } from "@rs-agent/shared/checks/verdict.ts";
import { isTransient } from "@rs-agent/shared/checks/finding.ts";
import { nextStep, uncheckedVerdict, type Step } from "@rs-agent/shared/policy/disposition.ts";
import type { Disposition } from "@rs-agent/shared/checks/consequence.ts";
import type { Plan } from "@rs-agent/shared/mail/plan.ts";
import { askedIn, checksIn } from "@rs-agent/shared/checks/asked.ts";
import { isFromStrangers } from "@rs-agent/shared/mail/direction.ts";
import { mayBounce } from "@rs-agent/shared/mail/dsn.ts";
import type { AddressLogMode } from "@rs-agent/shared/mail/logged-address.ts";
import { logOutcomes } from "@rs-agent/shared/mail/outcome-log.ts";
import { isNewTo, laneFor, note, type HeldMail } from "./held-mail.ts";

export interface MailFlowDeps {
  actorId: string;
  /** The database's clock. */
  clock: Pick<Clock, "now">;
  log: Logger;
  logAddresses: AddressLogMode;
  /** Some worker of those that are waited for is able, or a person has paused it: the mail simply waits. */
  isAble: (lane: Lane) => boolean;
  /** A mail needs one of them, and there is none. */
  onAway: (lane: Lane) => void;
  /** Asks for a worker. */
  enqueue: (held: HeldMail, kind: TaskKind) => void;
  /** A mail has come to need a task for which it is not asked: no worker is able. */
  onArrived: (kind: TaskKind) => void;
  /** Writes what is pending and ends our part in the mail. */
  finish: (held: HeldMail) => Promise<void>;
  /** The SMTP sender's domain is of the tenant under whose policy the mail goes out. */
  isOwnSender: (held: HeldMail) => boolean;
  /** Bounces a rejected outgoing mail to its sender before the outcome is final. */
  bounce: (held: HeldMail, reason: string, now: Date) => Promise<void>;
}

/** Milliseconds between two tries of a check that could not be made: less often the longer it lasts. */
const recheckMs = [2_000, 5_000, 10_000, 30_000] as const;
/** A mail that policy holds (an unreadable key) is tried again after this time. */
const heldRetryMs = 60_000;

/**
 * Takes a held mail one step on: asks the policy's pure function what is next and does that.
 * Called after each claim and each result.
 */
export async function advance(deps: MailFlowDeps, held: HeldMail): Promise<void> {
  const { plan, mail } = held;
  if (held.over || plan === undefined) return;
  const now = deps.clock.now();
  const step = nextStep({
    plan,
    verdicts: mail.verdicts,
    enriched: mail.enriched,
    overrides: mail.overrides,
    uncheckedSince: mail.uncheckedSince,
    rawSha256: mail.body.sha256,
    now,
  });
  if (step.kind === "check" || step.kind === "enrich") {
    ask(deps, held, step);
    return;
  }
  // Parallel checks: what one of them decides must not end the lease under the other one's task.
  if (held.tasks.size > 0 && (step.kind === "wait" || step.kind === "ready")) return;
  await conclude(deps, held, plan, step, now);
}

function ask(deps: MailFlowDeps, held: HeldMail, step: Step & { kind: "check" | "enrich" }): void {
  const wanted: readonly TaskKind[] = step.kind === "enrich" ? ["enrich"] : step.tasks;
  if (step.kind === "enrich") held.disposition = step.disposition;
  const atWork = new Set(held.tasks.values());
  if (step.kind === "enrich" && atWork.size > 0) return;
  for (const kind of wanted) {
    if (!atWork.has(kind) && !held.asked.has(kind)) deps.enqueue(held, kind);
  }
}

type Conclusion = Exclude<Step, { kind: "check" | "enrich" }>;

async function conclude(
  deps: MailFlowDeps,
  held: HeldMail,
  plan: Plan,
  step: Conclusion,
  now: Date,
): Promise<void> {
  switch (step.kind) {
    case "wait":
      if (isNewTo(held, step.check)) deps.onArrived(step.check);
      note(held, waitChange(deps, held, step, now));
      break;
    case "ready":
      passOn(deps, held, plan, step.disposition);
      break;
    case "hold":
      hold(deps, held, "policy", step.reason);
      break;
    case "quarantine":
      end(deps, held, "quarantined", step);
      break;
    case "discard":
      end(deps, held, "discarded", step);
      break;
    case "reject":
      await reject(deps, held, step, now);
      break;
  }
  await deps.finish(held);
}

/**
 * The sender is told before the outcome is final, but only one of the tenant whose mail it is: a
 * forged sender gets no backscatter, and if nobody may be told it is a dead letter.
 */
async function reject(deps: MailFlowDeps, held: HeldMail, step: Judged, now: Date) {
  const { mail } = held;
  const { reason } = step;
  if (isFromStrangers(mail) || (mail.smtp.mailFrom !== "" && !deps.isOwnSender(held))) {
    end(deps, held, "quarantined", step);
  } else if (!mayBounce(mail)) {
    die(deps, held, "double-bounce", `double-bounce: ${reason}`);
  } else {
    await deps.bounce(held, reason, now);
    if (!held.over) end(deps, held, "bounced", step);
  }
}

/** What policy makes of the verdicts, if the mail does not leave. */
interface Judged {
  kind: Disposition;
  reason: string;
}

type Told = Pick<MailFlowDeps, "actorId" | "clock" | "log" | "logAddresses">;

/** This step of ours, now. */
export function momentOf({ clock, actorId }: Pick<MailFlowDeps, "clock" | "actorId">): {
  now: Date;
  by: string;
} {
  return { now: clock.now(), by: actorId };
}

function end(
  deps: Told,
  held: HeldMail,
  outcome: "quarantined" | "discarded" | "bounced",
  { kind: disposition, reason }: Judged,
): void {
  const moment = momentOf(deps);
  logEnd(deps, held, outcome, reason, moment);
  note(held, ended(held.mail, { outcome, disposition, reason, ...moment }));
}

/** A dead letter. */
export function die(deps: Told, held: HeldMail, cause: DeathCause, reason: string): void {
  const moment = momentOf(deps);
  logEnd(deps, held, "dead", reason, moment);
  note(held, died(held.mail, { cause, reason, ...moment }));
}

/** A line for each open recipient, which this closes. */
function logEnd(
  { log, logAddresses }: Told,
  { mail }: HeldMail,
  outcome: FinalOutcome,
  reason: string,
  { now }: Moment,
): void {
  const dsn = ends[outcome].status;
  const outcomes = mail.recipients
    .filter(isOpen)
    .map(({ address }) => ({ address, status: outcome, dsn, reply: reason }));
  logOutcomes(log, logAddresses, mail, "none", outcomes, now);
}

function hold(
  deps: Pick<MailFlowDeps, "actorId" | "clock">,
  held: HeldMail,
  cause: HoldCause,
  reason: string,
  retryAt?: Date,
): void {
  note(held, heldBack(held.mail, { cause, reason, retryAt, ...momentOf(deps) }));
}

/** A scan-only source has delivered the mail itself: its verdicts are the result. */
function passOn(
  deps: MailFlowDeps,
  held: HeldMail,
  plan: Plan,
  disposition: "deliver" | "tag",
): void {
  if (held.mail.origin.scanOnly === true) {
    const reason = "scan-only source: checked, never relayed";
    end(deps, held, "discarded", { kind: disposition, reason });
    return;
  }
  const enriched = plan.enrich === undefined ? undefined : held.mail.enriched;
  note(held, ready(held.mail, { plan, disposition, enriched, ...momentOf(deps) }));
}

function waitChange(deps: MailFlowDeps, held: HeldMail, step: Step & { kind: "wait" }, now: Date) {
  const { check, reason } = step;
  const since = held.mail.uncheckedSince?.check === check ? held.mail.uncheckedSince.at : now;
  const finding = held.mail.verdicts[check]?.finding;
  const said = finding?.kind === "unchecked" ? finding.detail : undefined;
  return checkWaits(held.mail, {
    check,
    unchecked: reason,
    since,
    next: laneFor(held, check),
    retryAt: retryAt(deps, held, step, since, now),
    reason: `${check} check waits, ${reason}${said === undefined ? "" : `: ${said}`}`,
  });
}

/** If no worker is able, credit alone decides: the mail is due immediately, in its old place. */
function retryAt(
  deps: MailFlowDeps,
  held: HeldMail,
  { check, until }: Step & { kind: "wait" },
  since: Date,
  now: Date,
): Date {
  if (!deps.isAble(laneFor(held, check))) return held.mail.receivedAt;
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
  deps: Pick<MailFlowDeps, "actorId" | "isAble" | "onAway">,
  held: HeldMail,
  now: Date,
): void {
  for (const check of checksIn(held.plan)) {
    const asked = askedIn(held.plan, check);
    const answered = held.mail.verdicts[check];
    if (asked === undefined || answered !== undefined) continue;
    const lane = laneFor(held, check);
    if (deps.isAble(lane)) continue;
    deps.onAway(lane);
    const verdict = uncheckedVerdict({
      reason: "engine-away",
      detail: `no ${workerText(lane)} is able`,
      settingsHash: asked.settingsHash,
      sha256: held.mail.body.sha256,
      worker: deps.actorId,
      now,
    });
    note(held, verdictKnown(check, verdict));
    if (held.plan?.order === "sequential") return;
  }
}

/**
 * The enricher cannot do now what policy demands: never sent without it (I10). It is tried again, unless
 * that is of no use before a person has acted.
 */
export async function holdUnable(
  deps: MailFlowDeps,
  held: HeldMail,
  reason: string,
  { forPerson = false }: { forPerson?: boolean } = {},
): Promise<void> {
  const now = deps.clock.now();
  const retryAt = forPerson ? undefined : new Date(now.getTime() + heldRetryMs);
  hold(deps, held, "unable", reason, retryAt);
  await deps.finish(held);
}
