import type {
  SenderProof,
  UnprovenSender,
} from "@rs-agent/shared/mail/authentication/sender-proof.ts";
import { isFromStrangers } from "@rs-agent/shared/mail/direction.ts";
import { whyUnreported, type FailedRecipient } from "@rs-agent/shared/mail/dsn.ts";
import type { MailChange } from "@rs-agent/shared/life/change.ts";
import { finalStateOf, isOpen, type AttemptStatus } from "@rs-agent/shared/life/outcomes.ts";
import {
  deferred,
  finished,
  outcomeUnknown,
  timeOver as heldForTime,
  wentOn,
  type AttemptFacts,
} from "@rs-agent/shared/life/relaying.ts";
import type { MailRecord, Recipient, UnknownMark } from "@rs-agent/shared/mail/record.ts";
import type { RecipientOutcome } from "@rs-agent/shared/mail/outcome-log.ts";
import { maxReply, replyClass } from "./reply.ts";
import { isExpired, retryAt } from "./schedule.ts";
import type { RecipientResult } from "./transcript.ts";
import { afterUnknown } from "./unknown-outcome.ts";

/**
 * What follows from an attempt, as pure functions: what was seen in, the change to be written
 * (guarded by the lease, I3) out.
 */

/** One attempt on some of a mail's recipients, as it ended. */
export interface Attempt {
  mail: MailRecord;
  /** By the recipient's place in the record. */
  results: ReadonlyMap<number, RecipientResult>;
  /** Who was asked: a session's name, or the route's if there was none. */
  hop: string;
  startedAt: Date;
  now: Date;
  /** Our actor id. */
  by: string;
  /** The longest SMTP time-out (I8), milliseconds. */
  longestTimeoutMs: number;
  /** The mark that was written before the transaction; undefined if there was none. */
  mark: UnknownMark | undefined;
  /** Whether the sender may get a report of a failure (I12). Undefined: not asked yet. */
  proof?: SenderProof;
}

export interface AttemptOutcome extends RecipientOutcome {
  status: AttemptStatus;
}

export interface Settlement {
  change: MailChange;
  outcomes: AttemptOutcome[];
  /** To be reported to the sender, if that is proven, before the change is written. */
  bounce: FailedRecipient[];
}

/** What follows from an attempt, for each recipient separately. */
export function settle(attempt: Attempt): Settlement {
  const judged = attempt.mail.recipients.map((recipient, index) => {
    const result = attempt.results.get(index);
    return result === undefined ? { recipient } : judge(attempt, recipient, result);
  });
  const recipients = judged.map((entry) => entry.recipient);
  const outcomes = asTheMail(
    judged.flatMap(({ outcome }) => (outcome === undefined ? [] : [outcome])),
  );
  const bounce = judged.flatMap(({ failed }) => (failed === undefined ? [] : [failed]));
  return { change: changeFor(attempt, recipients, outcomes), outcomes, bounce };
}

/**
 * Between two transactions of one attempt: who has the mail by now and the mark of the next one, in
 * one write (I8). Every other result waits for the attempt's end.
 */
export function goOn(
  attempt: Attempt,
  mark: UnknownMark,
): { change: MailChange; recipients: Recipient[]; outcomes: AttemptOutcome[] } {
  const judged = attempt.mail.recipients.map((recipient, index): Judged => {
    const result = attempt.results.get(index);
    return result?.kind === "sent" ? judge(attempt, recipient, result) : { recipient };
  });
  const recipients = judged.map((entry) => entry.recipient);
  const outcomes = judged.flatMap(({ outcome }) => (outcome === undefined ? [] : [outcome]));
  const facts = factsOf(attempt, recipients, outcomes);
  return { change: wentOn(attempt.mail, { mark, attempt: facts }), recipients, outcomes };
}

/** If the outcome of some is unknown, the mail is held for nobody yet: the others only wait with it. */
function asTheMail(outcomes: AttemptOutcome[]): AttemptOutcome[] {
  if (!outcomes.some(({ status }) => status === "unknown")) return outcomes;
  return outcomes.map((one) => (one.status === "held" ? { ...one, status: "deferred" } : one));
}

interface Judged {
  recipient: Recipient;
  outcome?: AttemptOutcome;
  failed?: FailedRecipient;
}

function judge(attempt: Attempt, before: Recipient, result: RecipientResult): Judged {
  const { now } = attempt;
  const attempts = before.attempts + 1;
  const { address } = before;
  if (result.kind === "unknown") {
    const reply = result.detail.slice(0, maxReply);
    const recipient = { ...before, attempts, status: "4.4.2", reply };
    return { recipient, outcome: { address, status: "unknown", dsn: "4.4.2", reply } };
  }
  const { status, reply } = result;
  const recipient = { ...before, attempts, status, reply };
  if (result.kind === "sent") {
    const outcome: AttemptOutcome = { address, status: "sent", dsn: status, reply };
    return { recipient: { ...recipient, outcome: "sent", at: now }, outcome };
  }
  if (result.kind !== "deferred") return failure(attempt, recipient, status, reply);
  if (!isExpired(attempt.mail, now)) {
    return { recipient, outcome: { address, status: "deferred", dsn: status, reply } };
  }
  // What strangers sent in is not a failure of theirs if only our next hop does not take it: a person looks.
  if (isFromStrangers(attempt.mail)) {
    return { recipient, outcome: { address, status: "held", dsn: timeOver, reply } };
  }
  return failure(attempt, recipient, timeOver, reply);
}

function failure(attempt: Attempt, recipient: Recipient, status: string, reply: string): Judged {
  const { mail, now } = attempt;
  const { address } = recipient;
  const outcome = whyUnreported(mail) === undefined ? "bounced" : "dead";
  const isUnproven = outcome === "bounced" && attempt.proof?.kind === "unproven";
  const report = isUnproven ? ({ report: "none" } as const) : {};
  const judged = {
    recipient: { ...recipient, status, outcome, at: now, ...report } as const,
    outcome: { address, status: outcome, dsn: status, reply, ...report } as const,
  };
  if (outcome === "dead") return judged;
  const host = mail.route?.host;
  // Only what looks like a reply was said by the hop; the rest are our own words.
  const said = host !== undefined && replyClass(reply) > 0 ? { remoteMta: host } : {};
  return { ...judged, failed: { address, status, reply, lastAttemptAt: now, ...said } };
}

function factsOf(
  { hop, startedAt, now, by, mark, proof }: Attempt,
  recipients: Recipient[],
  outcomes: AttemptOutcome[],
): AttemptFacts {
  const notTold = whyNotTold(proof, outcomes);
  const hadMark = mark !== undefined;
  return { recipients, statuses: outcomes, hop, startedAt, now, by, hadMark, notTold };
}

function changeFor(
  attempt: Attempt,
  recipients: Recipient[],
  outcomes: AttemptOutcome[],
): MailChange {
  const { mail, now, by, mark, longestTimeoutMs } = attempt;
  const facts = factsOf(attempt, recipients, outcomes);
  const unknown = outcomes.filter(({ status }) => status === "unknown");
  if (unknown[0] !== undefined && mark !== undefined) {
    const named = { ...mark, recipients: unknown.map(({ address }) => address) };
    const detail = reasonOf(unknown[0]);
    const followed = afterUnknown(mail, named, now, longestTimeoutMs);
    return outcomeUnknown(mail, { ...followed, detail, attempt: facts, now, by });
  }
  if (!recipients.some(isOpen)) {
    return finished(mail, { attempt: facts, reason: finalReason(attempt, facts, outcomes) });
  }
  const over = outcomes.find(({ status }) => status === "held");
  if (over !== undefined) {
    return heldForTime(mail, { attempt: facts, reason: `${timeOverReason}: ${reasonOf(over)}` });
  }
  const attempts = Math.max(...recipients.filter(isOpen).map((recipient) => recipient.attempts));
  const waiting = outcomes.find(({ status }) => status === "deferred");
  const reason = waiting === undefined ? undefined : reasonOf(waiting);
  return deferred(mail, { attempt: facts, dueAt: retryAt(mail, attempts, now), reason });
}

function finalReason(
  { mail }: Attempt,
  { recipients, notTold }: AttemptFacts,
  outcomes: AttemptOutcome[],
): string | undefined {
  const worst = outcomes.find(({ status }) => status === "dead" || status === "bounced");
  const unreported = finalStateOf(recipients) === "dead" ? whyUnreported(mail) : notTold;
  const why = worst === undefined ? undefined : reasonOf(worst);
  const texts = [unreported, why].filter((text) => text !== undefined);
  return texts.length === 0 ? undefined : texts.join(": ");
}

/** For a person: with this begins the reason of what strangers sent in and the next hop did not take in time. */
const timeOverReason = "its time in the queue is over";

/** RFC 3463: X.4.7, the time that the mail may wait is over. */
const timeOver = "4.4.7";

function whyNotTold(
  proof: SenderProof | undefined,
  outcomes: readonly AttemptOutcome[],
): string | undefined {
  const isSo = outcomes.some(({ report }) => report === "none");
  return isSo ? `no report, ${(proof as UnprovenSender).detail}` : undefined;
}

function reasonOf({ address, reply }: AttemptOutcome): string {
  return `${address}: ${reply.replace(/\s+/g, " ")}`.slice(0, 900);
}
