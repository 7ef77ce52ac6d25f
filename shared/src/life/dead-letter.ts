import { sha256Hex } from "../ids.ts";
import {
  mailSchema,
  recordVersion,
  type BodyRef,
  type MailRecord,
  type Recipient,
} from "../mail/record.ts";
import { entry, maxHistory, type DeathCause } from "./events.ts";
import { recipientsWith } from "./outcomes.ts";

/** Stands for the body of a record that names none. */
export const noBody: BodyRef = { id: "none", form: "document", size: 0, sha256: sha256Hex("") };

/** What a dead letter keeps of a document if it can be read: each field stands for itself. */
const keptFields = [
  "origin",
  "smtp",
  "receivedAt",
  "body",
  "header",
  "direction",
  "plan",
  "route",
  "verdicts",
  "parentId",
  "groups",
  "claims",
  "strikes",
  "unknown",
  "history",
] as const satisfies readonly (keyof typeof mailSchema.shape)[];

/**
 * A dead letter out of a document that is not a record: whatever of it can be read stays in its place.
 * Recipients that were open end as `dead` (I1).
 */
export function buried(
  document: Readonly<Record<string, unknown>>,
  id: string,
  reason: string,
  now: Date,
  cause: DeathCause = "malformed",
): MailRecord {
  const kept: Partial<MailRecord> = {};
  for (const field of keptFields) {
    const parsed = mailSchema.shape[field].safeParse(document[field]);
    if (parsed.success && parsed.data !== undefined) Object.assign(kept, { [field]: parsed.data });
  }
  const recipients = recipientsWith(readableRecipients(document), "dead", now);
  const smtp = {
    mailFrom: "",
    rcptTo: recipients.map(({ address }) => address),
    client: { address: "", name: "", helo: "" },
  };
  const event = entry({ now }, "dead", reason, { cause });
  return {
    origin: { via: "source", name: "unknown" },
    smtp,
    receivedAt: now,
    body: noBody,
    verdicts: {},
    ...kept,
    _id: id,
    v: recordVersion,
    state: "dead",
    recipients,
    reason,
    finalAt: now,
    history: [...(kept.history ?? []), event].slice(-maxHistory),
  };
}

function readableRecipients({ recipients, smtp }: Readonly<Record<string, unknown>>): Recipient[] {
  const parsed = mailSchema.shape.recipients.safeParse(recipients);
  if (parsed.success) return parsed.data;
  const rcptTo = (smtp as { rcptTo?: unknown } | null | undefined)?.rcptTo;
  const addresses: unknown[] = Array.isArray(rcptTo) ? rcptTo : [];
  return addresses
    .filter((address) => typeof address === "string")
    .slice(0, 10_000)
    .map((address) => ({ address: address.slice(0, 320), outcome: "open", attempts: 0 }));
}
