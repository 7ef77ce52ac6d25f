import { hostname } from "node:os";
import { messageOf, RetryableError } from "@rs-agent/shared/errors.ts";
import { newMailId } from "@rs-agent/shared/ids.ts";
import { headerSummary } from "@rs-agent/shared/mail/header-summary.ts";
import { receivedField } from "@rs-agent/shared/mail/received.ts";
import { recordVersion, type BodyRef, type MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { FloodMail } from "../mails/composer.ts";
import type { Sender, SendOutcome } from "./sender.ts";

/** Stands for the host that handed the mail in (RFC 5737): a stranger to every tenant. */
const client = { address: "192.0.2.1", name: "", helo: "client.flood.example" } as const;
const name = "flood";

/**
 * Puts mail straight into MongoDB, as ingest stores it after a 250: body first, then a record in
 * the state `incoming`, both by majority and journaled. This floods the dispatcher without asking
 * ingest.
 */
export function createMongoSender(
  database: Pick<Database, "mails" | "bodies" | "clock" | "server">,
): Sender {
  const send = async (mail: FloodMail, raw: Buffer): Promise<SendOutcome> => {
    let body: BodyRef | undefined;
    try {
      const mailId = newMailId();
      const at = database.clock.now();
      const trace = { client, by: hostname(), protocol: "ESMTP", mailId, at } as const;
      body = await database.bodies.put(Buffer.concat([receivedField(trace), raw]));
      await database.mails.insert(recordOf(mail, { mailId, at, body, raw }));
      return { kind: "accepted", refused: [] };
    } catch (error) {
      if (!(error instanceof RetryableError)) throw error;
      return { kind: body === undefined ? "failed" : "unknown", reply: messageOf(error) };
    }
  };
  return {
    target: `the records of ${database.server}`,
    openLane: () => ({ send, close: () => undefined }),
    close: () => Promise.resolve(),
  };
}

function recordOf(
  { mailFrom, rcptTo }: FloodMail,
  { mailId, at, body, raw }: { mailId: string; at: Date; body: BodyRef; raw: Buffer },
): MailRecord {
  return {
    _id: mailId,
    v: recordVersion,
    state: "incoming",
    next: "plan",
    dueAt: at,
    origin: { via: "smtp", name },
    smtp: { mailFrom, rcptTo: [...rcptTo], client },
    recipients: rcptTo.map((address) => ({ address, outcome: "open", attempts: 0 })),
    receivedAt: at,
    body,
    header: { ...headerSummary(raw) },
    verdicts: {},
    history: [{ at, event: "accepted", by: name }],
  };
}
