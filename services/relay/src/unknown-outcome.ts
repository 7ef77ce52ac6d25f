import type { MailChange } from "@rs-agent/shared/life/change.ts";
import { outcomeUnknown, unknownWaits, type UnknownFacts } from "@rs-agent/shared/life/relaying.ts";
import type { MailRecord, UnknownMark } from "@rs-agent/shared/mail/record.ts";
import { onUnknown } from "./schedule.ts";

/**
 * Attempts whose outcome nobody knows (I8), as pure functions:
 * 1. The mark is written by majority before the transaction, and cleared by whatever ends it known.
 * 2. Nobody sends the mail again before the lease is over (the socket destroyed) and after that the
 *    longest SMTP time-out has passed.
 * 3. Then policy decides: `resend`, a possible duplicate that is counted, or `hold` for a person,
 *    whose word to send it again holds for this one outcome.
 */

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
    const followed = afterUnknown(mail, mark, now, longestTimeoutMs);
    return { kind: "wait", change: outcomeUnknown(mail, { ...followed, detail, now, by }) };
  }
  if (mark.resolveAt.getTime() <= now.getTime()) return { kind: "resend" };
  return { kind: "wait", change: unknownWaits(mail, { dueAt: mark.resolveAt }) };
}

/** What policy, or a person's word, makes of an outcome that nobody knows, and from when on. */
export function afterUnknown(
  mail: MailRecord,
  mark: UnknownMark,
  now: Date,
  longestTimeoutMs: number,
): Pick<UnknownFacts, "mark" | "resolveAt" | "then"> {
  const isResent = onUnknown(mail) === "resend" || mark.resendBy !== undefined;
  const resolveAt = new Date(now.getTime() + longestTimeoutMs);
  return { mark, resolveAt, then: isResent ? "resend" : "hold" };
}
