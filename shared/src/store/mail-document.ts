import type { Document } from "mongodb";
import { TerminalError, messageOf } from "../errors.ts";
import { newToken, sha256Hex } from "../ids.ts";
import {
  maxHistory,
  mailSchema,
  parseMail,
  recordVersion,
  type BodyRef,
  type MailRecord,
  type Recipient,
} from "../mail/record.ts";
import { comparedAddress } from "../mail/local-part.ts";
import { recipientsWith } from "../mail/state.ts";
import type { StoredDocument } from "./connection.ts";
import type { MailChange } from "./mails.ts";

/** The document of a new mail: the record and the keys that `find` looks up. */
export function documentOf(mail: MailRecord): StoredDocument {
  return { ...mail, lookup: lookupKeysOf(mail) };
}

/** What `find` may be asked for, in one indexed array: `to:`, `from:` and `id:` with their values. */
export function lookupKeysOf({ smtp, recipients, header }: MailRecord): string[] {
  const keys = new Set<string>();
  for (const { address } of recipients) keys.add(toKey(address));
  keys.add(fromKey(smtp.mailFrom));
  const shownFrom = /[^\s<>"(),;:]+@[^\s<>"(),;:]+/.exec(header?.from ?? "")?.[0];
  if (shownFrom !== undefined) keys.add(fromKey(shownFrom));
  if (header?.messageId !== undefined) keys.add(messageIdKey(header.messageId));
  return [...keys];
}

export const toKey = (address: string) => `to:${comparedAddress(address)}`;
export const fromKey = (address: string) => `from:${comparedAddress(address)}`;
export const messageIdKey = (messageId: string) => `id:${messageId.replace(/^<|>$/g, "")}`;

/**
 * The update of a change. `writeId` marks it as done, so that a write whose answer was lost can be
 * told from one that never arrived.
 */
export function updateOf(change: MailChange, writeId: string): Document {
  const unset = [...(change.unset ?? []), ...(change.releaseLease === true ? ["lease"] : [])];
  const history = change.history === undefined ? [] : [change.history].flat();
  return {
    $set: { ...change.set, writeId },
    ...(unset.length === 0 ? {} : { $unset: Object.fromEntries(unset.map((path) => [path, ""])) }),
    ...(change.inc === undefined || Object.keys(change.inc).length === 0
      ? {}
      : { $inc: change.inc }),
    ...(history.length === 0
      ? {}
      : { $push: { history: { $each: history, $slice: -maxHistory } } }),
  };
}

/** 64 random bits: enough to tell one write of a mail from another. */
export function newWriteId(): string {
  return newToken().slice(0, 16);
}

/** The record, or in one sentence why it is none. */
export function readMail(document: Document): { mail: MailRecord } | { reason: string } {
  try {
    return { mail: parseMail(document as { _id: unknown }) };
  } catch (error) {
    if (!(error instanceof TerminalError)) throw error;
    return { reason: messageOf(error).slice(0, 1000) };
  }
}

/** Stands for the body of a record that names none. */
export const noBody: BodyRef = { id: "none", form: "document", size: 0, sha256: sha256Hex("") };

/** What a dead letter keeps of a document where it can be read: each field stands for itself. */
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
 * A dead letter out of a document that is no record: whatever of it can be read stays in its place.
 * Recipients that were open end as `dead` (I1).
 */
export function deadLetterOf(
  document: Document,
  id: string,
  reason: string,
  now: Date,
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
  const died = { at: now, event: "dead", detail: reason };
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
    history: [...(kept.history ?? []), died].slice(-maxHistory),
  };
}

function readableRecipients({ recipients, smtp }: Document): Recipient[] {
  const parsed = mailSchema.shape.recipients.safeParse(recipients);
  if (parsed.success) return parsed.data;
  const rcptTo = (smtp as { rcptTo?: unknown } | null | undefined)?.rcptTo;
  const addresses: unknown[] = Array.isArray(rcptTo) ? rcptTo : [];
  return addresses
    .filter((address) => typeof address === "string")
    .slice(0, 10_000)
    .map((address) => ({ address: address.slice(0, 320), outcome: "open", attempts: 0 }));
}
