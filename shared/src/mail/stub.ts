import { lastOf } from "../life/events.ts";
import type { MailRecord } from "./record.ts";

/** What a stub waits for, as its `next` says it: that its record in a source is read. */
export const adoptStep = "adopt";

/**
 * A stub stands for a record of a source that a dispatcher has taken on and nobody has read: it has
 * neither recipients nor body yet, so it counts for nothing (I1). All else about it is as for any mail.
 */
export function isStub({ state, next }: Pick<MailRecord, "state" | "next">): boolean {
  return state === "incoming" && next === adoptStep;
}

/**
 * Nobody has read its record: it is a stub, or was one when it came to its end or was held. A dead letter of it is
 * that of a record over which services ended, and knows no more than where the record is.
 */
export function isUnread({
  origin,
  state,
  recipients,
  history,
}: Pick<MailRecord, "origin" | "state" | "recipients" | "history">): boolean {
  if (origin.via !== "source" || recipients.length > 0) return false;
  return state !== "dead" || lastOf(history, "dead")?.cause === "services-ended";
}
