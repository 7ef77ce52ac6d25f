import { lastOf } from "../life/events.ts";
import type { MailRecord } from "./record.ts";

/** The `next` of a stub: its record in a source has yet to be read. */
export const adoptStep = "adopt";

/**
 * A stub stands for a record of a source that a dispatcher has taken on but nobody has read. It has
 * neither recipients nor body yet, so it does not count (I1). Otherwise it is like any mail.
 */
export function isStub({ state, next }: Pick<MailRecord, "state" | "next">): boolean {
  return state === "incoming" && next === adoptStep;
}

/**
 * Nobody has read its record: it is a stub, or was one when it ended or was held. As a dead letter
 * it stands for a record over which services died, and all it knows is where that record is.
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
