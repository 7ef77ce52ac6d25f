import type { HistoryEntry, MailRecord, UnknownMark } from "@rs-agent/shared/mail/record.ts";
import type { MailChange } from "@rs-agent/shared/store/mails.ts";
import { relayRules } from "./schedule.ts";
import { entry } from "./transitions.ts";

/**
 * Attempts whose outcome nobody knows (I8), as pure functions:
 * 1. The mark is written by majority before the transaction, and cleared by whatever ends it known.
 * 2. Nobody sends the mail again before the lease is over (the socket destroyed) and after that the
 *    longest SMTP time-out has passed.
 * 3. Then policy decides: `resend`, a possible duplicate that is counted, or `hold` for a person,
 *    whose word to send it again holds for this one outcome.
 */

/** To be written before the transaction. */
export function markChange(mail: MailRecord, mark: UnknownMark): MailChange {
  const set = { state: "relaying", unknown: mark };
  if (mail.unknown === undefined) return { set };
  const detail = "its last outcome stayed unknown: a possible duplicate";
  return { set, history: entry(mark.at, "sent again", mark.relay, detail) };
}

/** What a claimed mail's mark says. */
export type MarkResolution =
  /** There is none: an attempt may begin. */
  | { kind: "none" }
  /** The time is over and policy says so: an attempt may begin that may make a duplicate. */
  | { kind: "resend" }
  /** Not now: this change is to be written. */
  | { kind: "wait"; change: MailChange };

/**
 * A mail that is claimed with a mark was left by a relay that died or lost its lease, or waits for
 * its time. The first to see it so begins that time.
 */
export function resolveMark(
  mail: MailRecord,
  now: Date,
  by: string,
  longestTimeoutMs: number,
): MarkResolution {
  const mark = mail.unknown;
  if (mark === undefined) return { kind: "none" };
  if (mark.resolveAt === undefined) {
    const detail = `attempt ${mark.attempt} by ${mark.relay} at ${mark.connection} was not ended`;
    const history = entry(now, "outcome unknown", by, detail);
    const change = unknownChange({ mail, mark, detail, history, longestTimeoutMs, now });
    // What the attempt did to its relay is still to be found out.
    return { kind: "wait", change: { ...change, untried: true } };
  }
  if (mark.resolveAt.getTime() <= now.getTime()) return { kind: "resend" };
  const change = { set: { dueAt: mark.resolveAt }, releaseLease: true, untried: true };
  return { kind: "wait", change };
}

/** The mark stays; policy decides what follows when `longestTimeoutMs` from now have passed. */
export function unknownChange(unknown: {
  mail: MailRecord;
  mark: UnknownMark;
  /** What happened, for a person. */
  detail: string;
  history: HistoryEntry | HistoryEntry[];
  longestTimeoutMs: number;
  now: Date;
  set?: Record<string, unknown>;
}): MailChange {
  const { mail, history, now } = unknown;
  const resolveAt = new Date(now.getTime() + unknown.longestTimeoutMs);
  const set = {
    ...unknown.set,
    unknown: { ...unknown.mark, resolveAt },
    reason: `outcome unknown: ${unknown.detail}`.slice(0, 1000),
  };
  if (relayRules(mail).onUnknown === "resend" || unknown.mark.resendBy !== undefined) {
    return {
      set: { ...set, state: "relaying", dueAt: resolveAt },
      history,
      releaseLease: true,
    };
  }
  return {
    set: { ...set, state: "held" },
    unset: ["next", "dueAt", "heldUntil"],
    history,
    releaseLease: true,
  };
}
