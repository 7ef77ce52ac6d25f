import type {
  SenderProof,
  UnprovenSender,
} from "@rs-agent/shared/mail/authentication/sender-proof.ts";
import { isFromStrangers } from "@rs-agent/shared/mail/direction.ts";
import { whyUnreported, type FailedRecipient } from "@rs-agent/shared/mail/dsn.ts";
import type {
  HistoryEntry,
  MailRecord,
  Recipient,
  UnknownMark,
} from "@rs-agent/shared/mail/record.ts";
import type { RecipientOutcome } from "@rs-agent/shared/mail/outcome-log.ts";
import { finalStateOf, retentionUntil, timeOverReason } from "@rs-agent/shared/mail/state.ts";
import type { MailChange } from "@rs-agent/shared/store/mails.ts";
import { maxReply, replyClass } from "./reply.ts";
import { isExpired, retryAt } from "./schedule.ts";
import type { RecipientResult } from "./transcript.ts";
import { entry } from "./transitions.ts";
import { unknownChange } from "./unknown-outcome.ts";

/**
 * What follows from an attempt, as pure functions: what was seen in, the change to be written
 * (guarded by the lease, I3) out.
 */

/** One attempt on some of a mail's recipients, as it ended. */
export interface Attempt {
  mail: MailRecord;
  /** By the recipient's place in the record. */
  results: ReadonlyMap<number, RecipientResult>;
  /** Who was asked: a session's name, or the route's where there was none. */
  hop: string;
  startedAt: Date;
  now: Date;
  /** Our actor id. */
  by: string;
  /** The longest SMTP time-out (I8), milliseconds. */
  longestTimeoutMs: number;
  /** The mark that was written before the transaction; undefined where there was none. */
  mark: UnknownMark | undefined;
  /** Whether the sender may be told of a failure (I12). Undefined: that was not asked yet. */
  proof?: SenderProof;
}

/** What an attempt at the next hop may come to for one recipient. */
export interface AttemptOutcome extends RecipientOutcome {
  status: "sent" | "deferred" | "bounced" | "dead" | "unknown" | "held";
}

export interface Settlement {
  change: MailChange;
  outcomes: AttemptOutcome[];
  /** To be reported to the sender, if that is proven, before the change is written. */
  bounce: FailedRecipient[];
}

/** What follows from an attempt, each recipient apart. */
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
  const set = { state: "relaying", unknown: mark };
  const change =
    outcomes.length === 0
      ? { set }
      : { set: { ...set, recipients }, history: historyOf(attempt, outcomes) };
  return { change, recipients, outcomes };
}

/** Where the outcome of some is unknown, the mail is held for nobody yet: the others only wait with it. */
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
  // What strangers sent in is no failure of theirs where only our next hop does not take it: a person looks.
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

function changeFor(
  attempt: Attempt,
  recipients: Recipient[],
  outcomes: AttemptOutcome[],
): MailChange {
  const { mail, now } = attempt;
  const common = {
    recipients,
    "timings.relay": {
      queueMs: Math.max(0, attempt.startedAt.getTime() - readyAt(mail).getTime()),
      workMs: Math.max(0, now.getTime() - attempt.startedAt.getTime()),
    },
  };
  const history = [historyOf(attempt, outcomes), ...unreportedEntry(attempt, outcomes)];
  const unknown = outcomes.filter(({ status }) => status === "unknown");
  if (unknown[0] !== undefined && attempt.mark !== undefined) {
    const mark = { ...attempt.mark, recipients: unknown.map(({ address }) => address) };
    const { longestTimeoutMs } = attempt;
    const detail = reasonOf(unknown[0]);
    return unknownChange({ mail, mark, detail, history, longestTimeoutMs, now, set: common });
  }
  const state = finalStateOf(recipients);
  if (state !== undefined) return finalChange(attempt, common, state, outcomes, history);
  const attempts = Math.max(...recipients.filter(isOpen).map((recipient) => recipient.attempts));
  const waiting = outcomes.find(({ status }) => status === "deferred");
  // Where no transaction began, an earlier one whose outcome is unknown is as unknown as before.
  const staysUnknown = attempt.mark === undefined && mail.unknown !== undefined;
  const over = outcomes.find(({ status }) => status === "held");
  if (over !== undefined) {
    const reason = `${timeOverReason}: ${reasonOf(over)}`;
    return {
      set: { ...common, state: "held", reason },
      unset: ["next", "dueAt", "heldUntil", ...(staysUnknown ? [] : ["unknown"])],
      history,
      releaseLease: true,
      untried: attempt.mark === undefined,
    };
  }
  return {
    set: {
      ...common,
      state: staysUnknown ? "relaying" : "ready",
      dueAt: retryAt(mail, attempts, now),
      ...(waiting === undefined ? {} : { reason: reasonOf(waiting) }),
    },
    unset: staysUnknown ? [] : ["unknown"],
    history,
    releaseLease: true,
    untried: attempt.mark === undefined,
  };
}

function finalChange(
  { mail, proof, now }: Attempt,
  common: Record<string, unknown> & { recipients: Recipient[] },
  state: NonNullable<ReturnType<typeof finalStateOf>>,
  outcomes: AttemptOutcome[],
  history: HistoryEntry[],
): MailChange {
  const { recipients } = common;
  const expireAt = retentionUntil(state, { recipients, plan: mail.plan }, now);
  const worst = outcomes.find(({ status }) => status === "dead" || status === "bounced");
  const unreported = state === "dead" ? whyUnreported(mail) : whyNotTold(proof, outcomes);
  const why = worst === undefined ? undefined : reasonOf(worst);
  const reason = [unreported, why].filter((text) => text !== undefined).join(": ");
  return {
    set: {
      ...common,
      state,
      finalAt: now,
      ...(expireAt === undefined ? {} : { expireAt }),
      ...(reason === "" ? {} : { reason: reason.slice(0, 1000) }),
    },
    unset: ["next", "dueAt", "unknown", ...(reason === "" ? ["reason"] : [])],
    history,
    releaseLease: true,
  };
}

/** RFC 3463: X.4.7, the time that the mail may wait is over. */
const timeOver = "4.4.7";

function whyNotTold(
  proof: SenderProof | undefined,
  outcomes: readonly AttemptOutcome[],
): string | undefined {
  const isSo = outcomes.some(({ report }) => report === "none");
  return isSo ? `no report, ${(proof as UnprovenSender).detail}` : undefined;
}

function unreportedEntry(
  { proof, now, by }: Attempt,
  outcomes: readonly AttemptOutcome[],
): HistoryEntry[] {
  const why = whyNotTold(proof, outcomes);
  return why === undefined ? [] : [entry(now, "not reported", by, why)];
}

function historyOf(attempt: Attempt, outcomes: AttemptOutcome[]): HistoryEntry {
  const counts = new Map<string, number>();
  for (const { status } of outcomes) counts.set(status, (counts.get(status) ?? 0) + 1);
  const summary = [...counts].map(([status, count]) => `${count} ${status}`).join(", ");
  const last = outcomes.at(-1)?.reply.replace(/\s+/g, " ") ?? "";
  return entry(attempt.now, "relay attempt", attempt.by, `${attempt.hop}: ${summary}: ${last}`);
}

/** When it came to wait for the relay. */
export function readyAt(mail: MailRecord): Date {
  return mail.history.findLast(({ event }) => event === "ready")?.at ?? mail.receivedAt;
}

function reasonOf({ address, reply }: AttemptOutcome): string {
  return `${address}: ${reply.replace(/\s+/g, " ")}`.slice(0, 900);
}

/** The number of the attempt that is about to begin. */
export function attemptNumber(mail: MailRecord): number {
  return 1 + Math.max(0, ...mail.recipients.filter(isOpen).map(({ attempts }) => attempts));
}

export function isOpen(recipient: Recipient): boolean {
  return recipient.outcome === "open";
}
