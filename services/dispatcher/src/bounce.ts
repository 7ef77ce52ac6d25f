import { sendDsn } from "@rs-agent/shared/mail/dsn.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { HeldMail } from "./held-mail.ts";

/** RFC 3463: security or policy status, delivery not authorized. */
const rejectedStatus = "5.7.1";

/**
 * Tells the sender of a rejected outgoing mail, before the outcome is final; the report's id derives
 * from mail and reason, so that a second try makes no second report. Not for mail that may not be bounced.
 */
export async function bounceRejected(
  database: Pick<Database, "bodies" | "mails">,
  reportingMta: string,
  { mail }: HeldMail,
  reason: string,
  now: Date,
): Promise<void> {
  const original = await database.bodies.get(mail.body);
  const failed = mail.recipients
    .filter((recipient) => recipient.outcome === "open")
    .map(({ address }) => ({ address, status: rejectedStatus }));
  await sendDsn(database, { mail, failed, reason, original, reportingMta, now });
}
