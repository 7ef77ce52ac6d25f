import type { ProvenSender } from "@rs-agent/shared/mail/authentication/sender-proof.ts";
import { sendDsn } from "@rs-agent/shared/life/report.ts";
import type { PolicyBook } from "@rs-agent/shared/policy/effective.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { HeldMail } from "./held-mail.ts";

/** Only outgoing mail is rejected (disposition.ts), and only its tenant's own senders are told (mail-flow.ts). */
const proof: ProvenSender = { kind: "proven", detail: "outgoing mail of its tenant's own sender" };

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
  await sendDsn(database, { mail, failed, proof, reason, original, reportingMta, now });
}

/** The SMTP sender's domain is of the tenant under whose policy the mail goes out. */
export function isOwnSender(book: PolicyBook, { mail, plan }: HeldMail): boolean {
  const recipient = mail.smtp.mailFrom;
  const { tenantId } = book.planFor({ direction: "incoming", mailFrom: "", recipient });
  return tenantId !== undefined && tenantId === plan?.tenantId;
}
