import type { MailRecord } from "./record.ts";

/** Incoming mail: strangers sent it in, and its sender may be anybody's. Our own reports are nobody's. */
export function isFromStrangers({ origin, direction, plan }: MailRecord): boolean {
  return origin.via !== "dsn" && (plan?.direction ?? direction) !== "outgoing";
}
