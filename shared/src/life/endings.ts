import type { MailRecord, Recipient } from "../mail/record.ts";
import type { Disposition } from "../checks/consequence.ts";
import type { Plan } from "../mail/plan.ts";
import type { MailChange, SetFields } from "./change.ts";
import { bounded, entry, lastOf, type DeathCause, type HoldCause, type Moment } from "./events.ts";
import { isUnreported, recipientsWith, type FinalOutcome } from "./outcomes.ts";
import { transition } from "./transitions.ts";

/** How a mail's way ends, for now or for good. */

/** A mail without a report stays long enough for somebody to find it. */
const keptUnreportedMs = 30 * 86_400_000;

/**
 * When a final record may go, or undefined if policy keeps it forever. One without a report
 * (I12) stays for at least 30 days, but not forever: strangers can cause it.
 */
export function retentionUntil(
  outcome: FinalOutcome,
  { recipients, plan }: { recipients: readonly Recipient[]; plan?: Plan | undefined },
  now: Date,
): Date | undefined {
  const keepMs = plan?.retentionMs[outcome];
  if (recipients.some(isUnreported)) {
    return new Date(now.getTime() + Math.max(keepMs ?? 0, keptUnreportedMs));
  }
  return keepMs === undefined ? undefined : new Date(now.getTime() + keepMs);
}

/** What every final record has. */
export function finalFields(
  { plan }: Pick<MailRecord, "plan">,
  state: FinalOutcome,
  recipients: Recipient[],
  now: Date,
): SetFields {
  const expireAt = retentionUntil(state, { recipients, plan }, now);
  return { state, recipients, finalAt: now, ...(expireAt !== undefined && { expireAt }) };
}

/** Every open recipient comes to this end (I1). */
function closed(
  mail: MailRecord,
  outcome: FinalOutcome,
  { reason, now }: { reason: string; now: Date },
): MailChange {
  const recipients = recipientsWith(mail.recipients, outcome, now);
  return {
    set: { ...finalFields(mail, outcome, recipients, now), reason: bounded(reason) },
    unset: ["next", "dueAt", "heldUntil", "uncheckedSince"],
    releaseLease: true,
  };
}

/** An end that is not the relay's, by what policy makes of the verdicts. */
export const ended = transition(
  "ended",
  (
    mail,
    facts: Moment & {
      outcome: "quarantined" | "discarded" | "bounced";
      disposition: Disposition;
      reason: string;
    },
  ) => {
    const { set, ...change } = closed(mail, facts.outcome, facts);
    return {
      ...change,
      set: { ...set, disposition: facts.disposition },
      history: [entry(facts, facts.outcome, facts.reason)],
    };
  },
);

/** A dead letter: it can never be worked on, or sent, as it should be. */
export const died = transition(
  "died",
  (mail, facts: Moment & { cause: DeathCause; reason: string }) => ({
    ...closed(mail, "dead", facts),
    history: [entry(facts, "dead", facts.reason, { cause: facts.cause })],
  }),
);

/** Why a mail is held, and until when: with `retryAt` it is tried again by itself, otherwise a person must act. */
export interface Hold extends Moment {
  cause: HoldCause;
  reason: string;
  retryAt?: Date | undefined;
}

export function heldFor(hold: Hold): MailChange {
  const { cause, reason, retryAt } = hold;
  const until = retryAt === undefined ? "" : `, until ${retryAt.toISOString()}`;
  return {
    set: {
      state: "held",
      reason: bounded(reason),
      ...(retryAt !== undefined && { next: "retry", dueAt: retryAt, heldUntil: retryAt }),
    },
    unset: retryAt === undefined ? ["next", "dueAt", "heldUntil"] : [],
    history: [entry(hold, "held", `${reason}${until}`, { cause })],
    releaseLease: true,
  };
}

export const held = transition("held", (_mail, hold: Hold) => heldFor(hold));

/** Why a mail is held; undefined: it is not, or an earlier version wrote no cause. */
export function holdCause({ state, history }: MailRecord): HoldCause | undefined {
  return state === "held" ? lastOf(history, "held")?.cause : undefined;
}

/** What strangers sent in, held since the next hop did not take it in time. */
export function isTimeOver(mail: MailRecord): boolean {
  return holdCause(mail) === "time-over";
}
