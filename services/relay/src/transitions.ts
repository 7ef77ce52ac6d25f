import type { HistoryEntry, MailRecord } from "@rs-agent/shared/mail/record.ts";
import { recipientsWith, retentionUntil } from "@rs-agent/shared/mail/state.ts";
import type { MailChange } from "@rs-agent/shared/store/mails.ts";

/** The relay's changes of state that follow from no attempt, as data (I3). */

/** Not attempted: back to the queue. The oldest is served first, unless `dueAt` says later. */
export function givenBack(mail: MailRecord, dueAt?: Date): MailChange {
  const state = mail.unknown === undefined ? "ready" : "relaying";
  return { set: { state, dueAt: dueAt ?? mail.receivedAt }, releaseLease: true, untried: true };
}

/** A person must look at it; it is not sent before. */
export function heldBack(reason: string, now: Date, by: string): MailChange {
  return {
    set: { state: "held", reason },
    unset: ["next", "dueAt", "heldUntil"],
    history: entry(now, "held", by, reason),
    releaseLease: true,
  };
}

/** A dead letter: it can never be sent as it should be. */
export function givenUp(mail: MailRecord, reason: string, now: Date, by: string): MailChange {
  const expireAt = retentionUntil("dead", mail, now);
  return {
    set: {
      state: "dead",
      recipients: recipientsWith(mail.recipients, "dead", now),
      reason: reason.slice(0, 1000),
      finalAt: now,
      ...(expireAt === undefined ? {} : { expireAt }),
    },
    unset: ["next", "dueAt"],
    history: entry(now, "dead", by, reason),
    releaseLease: true,
  };
}

export function entry(at: Date, event: string, by: string, detail: string): HistoryEntry {
  return { at, event, by, detail: detail.slice(0, 1000) };
}
