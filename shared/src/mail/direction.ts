import type { MailRecord } from "./record.ts";

/**
 * Incoming mail: a stranger handed it in, and its sender may be forged. Our own reports do not
 * count.
 */
export function isFromStrangers({ origin, direction, plan }: MailRecord): boolean {
  return origin.via !== "dsn" && (plan?.direction ?? direction) !== "outgoing";
}
