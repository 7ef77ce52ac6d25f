import { recordVersion, type Lease, type MailRecord } from "../mail/record.ts";
import { adoptStep } from "../mail/stub.ts";
import { begun, type Given } from "./beginnings.ts";
import { noBody } from "./dead-letter.ts";
import { bounded, entry, type Moment } from "./events.ts";
import { transition } from "./transitions.ts";

/** How a record of a source becomes a mail, by a stub (mail/stub.ts). */

/** A dead letter of a record goes after this time: strangers can cause one. The record stays in its source. */
const letterMs = 30 * 86_400_000;

export function letterExpiry(now: Date): Date {
  return new Date(now.getTime() + letterMs);
}

/** A dispatcher has taken the record on: with it durable, it holds the stub by this lease. */
export function stubMade(
  given: Pick<MailRecord, "_id" | "origin">,
  { now, lease }: { now: Date; lease: Lease },
): MailRecord {
  return {
    ...given,
    v: recordVersion,
    state: "incoming",
    next: adoptStep,
    dueAt: lease.until,
    lease,
    claims: 1,
    unended: 1,
    smtp: { mailFrom: "", rcptTo: [], client: { address: "", name: "", helo: "" } },
    recipients: [],
    receivedAt: now,
    body: noBody,
    verdicts: {},
    history: [],
  };
}

/** The record was read: from now on the stub is this mail, and its holder goes on with it. */
export const adopted = transition("adopted", (_stub, given: Given) => {
  const event = entry({ now: given.receivedAt }, "adopted", `from source ${given.origin.name}`);
  const { next, origin, smtp, recipients, receivedAt, body, header, direction, history } = begun(
    given,
    event,
  );
  return {
    set: {
      ...{ state: "incoming", origin, smtp, recipients, receivedAt, body },
      ...(next !== undefined && { next }),
      ...(header !== undefined && { header }),
      ...(direction !== undefined && { direction }),
    },
    unset: ["reason"],
    history,
  };
});

/** The record makes no mail, or must not be read: the stub is this dead letter. */
export const unadopted = transition("unadopted", (_stub, letter: MailRecord) => {
  const { smtp, recipients, body, reason, finalAt, expireAt, history } = letter;
  return {
    set: {
      ...{ state: "dead", smtp, recipients, body },
      ...(reason !== undefined && { reason }),
      ...(finalAt !== undefined && { finalAt }),
      ...(expireAt !== undefined && { expireAt }),
    },
    unset: ["next", "dueAt"],
    history,
    releaseLease: true,
  };
});

const goneReason = "record gone";

/** The record is not in the source any more. */
export const recordGone = transition("recordGone", (_stub, facts: Moment) => ({
  set: {
    state: "discarded",
    reason: goneReason,
    finalAt: facts.now,
    expireAt: letterExpiry(facts.now),
  },
  unset: ["next", "dueAt"],
  history: [entry(facts, "discarded", goneReason)],
  releaseLease: true,
}));

export function isGone({ state, reason }: Pick<MailRecord, "state" | "reason">): boolean {
  return state === "discarded" && reason === goneReason;
}

/** The record is in the source again, and was never read. */
export const recordBack = transition("recordBack", (_stub, facts: Moment) => ({
  set: { state: "incoming", next: adoptStep, dueAt: facts.now },
  unset: ["reason", "finalAt", "expireAt"],
  history: [entry(facts, "record back")],
}));

/** The record cannot be read now, for nothing that it does. */
export const unreadYet = transition(
  "unreadYet",
  (_stub, { reason, retryAt }: { reason: string; retryAt: Date }) => ({
    set: { state: "incoming", next: adoptStep, dueAt: retryAt, reason: bounded(reason) },
    releaseLease: true,
    untried: true,
  }),
);
