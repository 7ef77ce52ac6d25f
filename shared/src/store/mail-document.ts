import type { Document } from "mongodb";
import { TerminalError, messageOf } from "../errors.ts";
import { parseMail, type MailRecord } from "../mail/record.ts";
import { comparedAddress } from "../mail/local-part.ts";
import type { StoredDocument } from "./connection.ts";
import type { PlanOf, PlanStore } from "./plans.ts";
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
  const planOf = await plansOf(documents, plans);
  return documents.map((document) => readMail(document, planOf));
}

/** The plans that they name. */
export function plansOf(documents: readonly Document[], plans: PlanStore): Promise<PlanOf> {
  return plans.load(documents.flatMap((document) => planHashIn(document) ?? []));
}

/** Without `planOf` for who does not ask for the plan. */
export function readMail(document: Document, planOf?: PlanOf): ReadMail {
  try {
    return { mail: mailIn(document, planOf) };
  } catch (error) {
    if (!(error instanceof TerminalError)) throw error;
    return { reason: messageOf(error).slice(0, 1000) };
  }
}

/** @throws what `parseMail` throws */
export function mailIn(document: Document, planOf?: PlanOf): MailRecord {
  const mail = parseMail(expanded(document) as { _id: unknown });
  const plan = mail.planRef && planOf?.(mail.planRef);
  return plan === undefined ? mail : { ...mail, plan, route: mail.route ?? plan.route };
}
