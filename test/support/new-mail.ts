import { newMailId } from "@rs-agent/shared/ids.ts";
import { recordVersion, type BodyRef, type MailRecord } from "@rs-agent/shared/mail/record.ts";

const someBody: BodyRef = { id: "none", form: "document", size: 0, sha256: "0".repeat(64) };

/**
 * A new mail as ingest makes it, received a second ago; a test gives what matters to it. Its
 * recipients are those of the SMTP envelope.
 */
export function newMail(given: Partial<MailRecord> = {}): MailRecord {
  const rcptTo = given.smtp?.rcptTo ?? ["bob@example.net"];
  const now = new Date(Date.now() - 1_000);
  return {
    _id: newMailId(),
    v: recordVersion,
    state: "incoming",
    next: "plan",
    dueAt: now,
    origin: { via: "smtp", name: "test" },
    smtp: {
      mailFrom: "alice@example.org",
      rcptTo,
      client: { address: "192.0.2.1", name: "mx.example.org", helo: "mx.example.org" },
    },
    recipients: rcptTo.map((address) => ({ address, outcome: "open", attempts: 0 })),
    receivedAt: now,
    body: someBody,
    header: { messageId: "<1@example.org>", from: "Alice <alice@example.org>" },
    verdicts: {},
    history: [],
    ...given,
  };
}
