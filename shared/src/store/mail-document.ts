import type { Document } from "mongodb";
import { TerminalError, messageOf } from "../errors.ts";
import { parseMail, type MailRecord } from "../mail/record.ts";
import { comparedAddress } from "../mail/local-part.ts";
import type { StoredDocument } from "./connection.ts";

/** The document of a new mail: the record and the keys that `find` looks up. */
export function documentOf(mail: MailRecord): StoredDocument {
  return { ...mail, lookup: lookupKeysOf(mail) };
}

/** What `find` may be asked for, in one indexed array: `to:`, `from:` and `id:` with their values. */
export function lookupKeysOf({
  smtp,
  recipients,
  header,
}: Pick<MailRecord, "smtp" | "recipients" | "header">): string[] {
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

/** The record, or in one sentence why it is none. */
export function readMail(document: Document): { mail: MailRecord } | { reason: string } {
  try {
    return { mail: parseMail(document as { _id: unknown }) };
  } catch (error) {
    if (!(error instanceof TerminalError)) throw error;
    return { reason: messageOf(error).slice(0, 1000) };
  }
}
