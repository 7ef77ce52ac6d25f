import { createDsn, type DsnRequest } from "../mail/dsn.ts";
import { printable } from "../mail/dsn-text.ts";
import type { BodyRef, MailRecord } from "../mail/record.ts";
import { reportMade } from "./beginnings.ts";

/** What a report needs of the store: the body first, the mail second. */
export interface DsnStore {
  bodies: { put(raw: Buffer): Promise<BodyRef> };
  mails: { insert(mail: MailRecord): Promise<unknown> };
}

/**
 * Puts the report into the queue as a mail of its own (`via: "dsn"`, null sender, to the failed
 * mail's sender) and returns its id once it is durable. To be awaited before the outcome that it
 * reports is final; calling it again for the same failure changes nothing.
 * @throws RetryableError of the store
 */
export async function sendDsn(store: DsnStore, request: DsnRequest): Promise<string> {
  const { id, raw } = createDsn(request);
  const body = await store.bodies.put(raw);
  await store.mails.insert(dsnRecord(request, id, body));
  return id;
}

function dsnRecord(request: DsnRequest, id: string, body: BodyRef): MailRecord {
  const { mail, now, reportingMta, proof } = request;
  const sender = mail.smtp.mailFrom;
  const given = {
    _id: id,
    origin: { via: "dsn" as const, name: mail._id },
    smtp: { mailFrom: "", rcptTo: [sender], client: { address: "", name: "", helo: "" } },
    receivedAt: now,
    body,
    header: {
      messageId: `<${id}@${printable(reportingMta)}>`,
      from: `MAILER-DAEMON@${printable(reportingMta)}`,
      fromDomain: printable(reportingMta).toLowerCase(),
    },
  };
  return reportMade(given, `on mail ${mail._id}: ${proof.detail}`);
}
