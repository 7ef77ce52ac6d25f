import type { Document } from "mongodb";
import { TerminalError, messageOf } from "../errors.ts";
import { parseMail, type MailRecord } from "../mail/record.ts";
import { comparedAddress } from "../mail/local-part.ts";
import type { StoredDocument } from "./connection.ts";
import type { PlanStore } from "./plans.ts";
import { expanded, planHashIn, storedRecord } from "./record-form.ts";

/** The document of a new mail: the record in the form of its version, and the keys that `find` looks up. */
export function documentOf(mail: MailRecord): StoredDocument {
  return { ...storedRecord(mail), _id: mail._id, lookup: lookupKeysOf(mail) };
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
export type ReadMail = { mail: MailRecord } | { reason: string };

/** Reads documents of `mails`, with the plans that they name. */
export async function readMails(
  documents: readonly Document[],
  plans: PlanStore,
): Promise<ReadMail[]> {
  await loadPlans(documents, plans);
  return documents.map((document) => readMail(document, plans));
}

/** Reads in one round trip what plans they name that are not known here yet. */
export async function loadPlans(documents: readonly Document[], plans: PlanStore): Promise<void> {
  const hashes = documents.flatMap((document) => planHashIn(document) ?? []);
  if (hashes.length > 0) await plans.load(hashes);
}

/** By the plans that are known already. */
export function readMail(document: Document, plans?: Pick<PlanStore, "planOf">): ReadMail {
  try {
    return { mail: mailIn(document, plans) };
  } catch (error) {
    if (!(error instanceof TerminalError)) throw error;
    return { reason: messageOf(error).slice(0, 1000) };
  }
}

/** @throws what `parseMail` throws */
export function mailIn(document: Document, plans?: Pick<PlanStore, "planOf">): MailRecord {
  const mail = parseMail(expanded(document) as { _id: unknown });
  const plan = mail.planRef && plans?.planOf(mail.planRef);
  return plan === undefined ? mail : { ...mail, plan, route: mail.route ?? plan.route };
}
