import { askedIn } from "../checks/asked.ts";
import { adoptStep, isUnread } from "../mail/stub.ts";
import { laneOf } from "../mail/lane.ts";
import type { Lease, MailRecord, Override, Recipient, UnknownMark } from "../mail/record.ts";
import { nextStep } from "../policy/disposition.ts";
import type { EndedField, MailChange, SetFields } from "./change.ts";
import { finalFields } from "./endings.ts";
import { entry, type EventName, type Moment } from "./events.ts";
import {
  finalStateOf,
  isOpen,
  isUnreported,
  recipientsWith,
  type FinalOutcome,
} from "./outcomes.ts";
import { transition } from "./transitions.ts";

/**
 * What a person may do with a mail. None of it makes a mail `ready` that was not: what goes on goes
 * through `processing`, where every step that is missing is still taken (I2), or back to where it
 * waited. Recipients with an outcome of their own keep it (I1).
 */

/** A mail passes the findings that `overrides` name. */
export const released = transition(
  "released",
  (mail, facts: Moment & { overrides: Override[]; detail: string }) =>
    takenUpAgain({ ...mail, overrides: facts.overrides }, facts, {
      isMeant: ({ outcome }) => outcome === "quarantined",
      event: entry(facts, "released", facts.detail),
      set: { overrides: facts.overrides },
      unset: ["uncheckedSince"],
    }),
);

/** No longer held. */
export const takenUp = transition("takenUp", (mail, facts: Moment) =>
  takenUpAgain(mail, facts, { event: entry(facts, "taken up again") }),
);

/** Mail that failed without a report, for those recipients. */
export const unreportedTakenUp = transition("unreportedTakenUp", (mail, facts: Moment) => {
  const addresses = mail.recipients.filter(isUnreported).map(({ address }) => address);
  return takenUpAgain(mail, facts, {
    isMeant: isUnreported,
    event: entry(facts, "taken up again", `nobody was told of ${addresses.join(", ")}`),
  });
});

/**
 * A dead letter from the start again, with what is known of it; its strikes are forgiven. That of a record which nobody
 * has read is a stub again.
 */
export const deadTakenUp = transition("deadTakenUp", (mail, facts: Moment) =>
  takenUpAgain(mail, facts, {
    isMeant: ({ outcome }) => outcome === "dead",
    event: entry(facts, "dead letter tried again"),
    unset: ["strikes", "unbegun", "claims", "unended", "alone", "uncheckedSince"],
  }),
);

interface TakingUp {
  /** Whose outcome was none; default: nobody's. */
  isMeant?: (recipient: Recipient) => boolean;
  event: ReturnType<typeof entry<EventName>>;
  set?: SetFields;
  unset?: readonly EndedField[];
}

/** Its time in the queue starts again, and nothing is left of an end. */
function takenUpAgain(mail: MailRecord, { now }: Moment, taking: TakingUp): MailChange {
  const { isMeant, event, set, unset = [] } = taking;
  return {
    set: {
      ...backToWork(mail, now),
      queuedAt: now,
      ...(isMeant !== undefined && { recipients: reopened(mail.recipients, isMeant) }),
      ...set,
    },
    unset: ["finalAt", "expireAt", "heldUntil", "reason", "disposition", ...unset],
    history: [event],
  };
}

/** Where the mail waits next: by the same function that the dispatcher asks. */
function backToWork(mail: MailRecord, now: Date): SetFields {
  const { plan } = mail;
  if (plan === undefined)
    return { state: "incoming", next: isUnread(mail) ? adoptStep : "plan", dueAt: now };
  // When the check's time is over is decided by who holds the mail then.
  const step = nextStep({ ...mail, plan, uncheckedSince: undefined, ...rawOf(mail), now });
  const check =
    step.kind === "check" ? step.tasks[0] : step.kind === "wait" ? step.check : undefined;
  const next = check === undefined ? "enrich" : laneOf(check, askedIn(plan, check)?.settings);
  return { state: "processing", next, dueAt: now };
}

function reopened(
  recipients: readonly Recipient[],
  isMeant: (recipient: Recipient) => boolean,
): Recipient[] {
  return recipients.map((recipient) =>
    isMeant(recipient) ? { address: recipient.address, outcome: "open", attempts: 0 } : recipient,
  );
}

/** Due immediately. */
export const hurried = transition("hurried", (_mail, facts: Moment) => ({
  set: { dueAt: facts.now },
  history: [entry(facts, "retry now")],
}));

/** Given up without a report: every open recipient is discarded. */
export const cancelled = transition("cancelled", (mail, facts: Moment & { reason: string }) => {
  const recipients = recipientsWith(mail.recipients, "discarded", facts.now);
  const state = finalStateOf(recipients) ?? "discarded";
  return {
    set: { ...finalFields(mail, state, recipients, facts.now), reason: facts.reason },
    unset: ["next", "dueAt", "heldUntil", "uncheckedSince"],
    history: [entry(facts, "cancelled")],
  };
});

/** Final mail that nobody wants to keep: the next sweep removes it with its body. */
export const dropped = transition("dropped", (_mail, facts: Moment) => ({
  set: { expireAt: facts.now },
  history: [entry(facts, "deleted")],
}));

/** A person has the mail in hand while its report is made. */
export const takenInHand = transition("takenInHand", (_mail, { lease }: { lease: Lease }) => ({
  set: { lease },
}));

/** The open recipients of the attempt whose outcome is unknown. */
export function concernedIn({ unknown, recipients }: MailRecord): Recipient[] {
  const named = new Set(unknown?.recipients);
  return recipients.filter((one) => isOpen(one) && named.has(one.address));
}

/**
 * Sent again, whatever the policy says of this one outcome: a possible duplicate with the same
 * Message-ID, not before the hop's longest time-out is over (I8).
 */
export const resent = transition(
  "resent",
  (mail, facts: Moment & { by: string; mark: UnknownMark; detail: string }) => {
    const { mark, now, by } = facts;
    return {
      set: {
        ...(isReadyToGo(mail, now)
          ? onItsRoute(mail, "relaying", later(mark.resolveAt, now))
          : backToWork(mail, now)),
        unknown: { ...mark, resendBy: by },
        reason: `outcome unknown: sent again by ${by}'s word`,
      },
      unset: ["heldUntil"],
      history: [entry(facts, "to be sent again", facts.detail)],
    };
  },
);

/** What a person found out at the hop about some recipients of an outcome that nobody knew. */
export interface Settling extends Moment {
  mark: UnknownMark;
  /** All of the mail's, each as it stands now. */
  recipients: Recipient[];
  outcome: FinalOutcome;
  /** Of the attempt, of whom nothing is known still. */
  left: string[];
  reason?: string | undefined;
  detail: string;
}

/** Final, held for the recipients that are still unknown, or on its way to those that were deferred. */
export const settled = transition("settled", (mail, facts: Settling) => {
  const { recipients, outcome, reason } = facts;
  const { set, unset } = onward({ ...mail, recipients }, facts);
  return {
    set: { recipients, ...set, ...(reason !== undefined && { reason }) },
    unset: reason === undefined ? unset : unset.filter((field) => field !== "reason"),
    history: [entry(facts, "outcome found out", facts.detail, { outcome })],
  };
});

function onward(
  mail: MailRecord,
  { mark, left, now }: Settling,
): { set: SetFields; unset: EndedField[] } {
  const unknown = { ...mark, recipients: left };
  if (concernedIn({ ...mail, unknown }).length > 0) return { set: { unknown }, unset: [] };
  const state = finalStateOf(mail.recipients);
  if (state === undefined) {
    const set = isReadyToGo(mail, now) ? onItsRoute(mail, "ready", now) : backToWork(mail, now);
    return { set, unset: ["unknown", "heldUntil", "reason"] };
  }
  const unset: EndedField[] = ["unknown", "next", "dueAt", "heldUntil"];
  return {
    set: finalFields(mail, state, mail.recipients, now),
    unset: state === "dead" ? unset : [...unset, "reason"],
  };
}

function onItsRoute({ route }: MailRecord, state: "ready" | "relaying", dueAt: Date): SetFields {
  return { state, dueAt, ...(route !== undefined && { next: route.key }) };
}

/**
 * The mail was ready when it was tried, and is so still by the function that the dispatcher asks
 * (I2, I10); otherwise it takes the steps that it lacks.
 */
function isReadyToGo(mail: MailRecord, now: Date): boolean {
  const { plan, route } = mail;
  if (plan === undefined || route === undefined) return false;
  return nextStep({ ...mail, plan, ...rawOf(mail), now }).kind === "ready";
}

function rawOf({ body }: MailRecord): { rawSha256: string } {
  return { rawSha256: body.sha256 };
}

function later(at: Date | undefined, now: Date): Date {
  return at !== undefined && at > now ? at : now;
}
