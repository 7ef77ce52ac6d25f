import type { Document } from "mongodb";
import type { MailChange, SetFields } from "../life/change.ts";
import type { CheckKind } from "../checks/verdict.ts";
import type { HistoryEntry } from "../life/events.ts";
import type { MailRecord } from "../mail/record.ts";
import { onlyDomainOf } from "../mail/mail-domain.ts";
import { planRefOf } from "../mail/plan.ts";
import { without } from "../without.ts";

/*
 * How a record lies in the database, by its version. In memory all are alike.
 * 1: as in memory.
 * 2: small, since each write and each change stream pays for its size. Nothing is in it twice, hashes are bytes,
 *    times are whole milliseconds, and the plan, of which the route follows, lies in `plans`.
 */

/** What the form of a change depends on beside the change. */
export interface RecordForm {
  readonly v: number;
  /** SHA-256 (hex) of the raw mail. */
  readonly sha256: string;
}

/** The whole record. */
export function storedRecord(mail: MailRecord): Document {
  if (mail.v < 2) return mail;
  const { verdicts, timings, body } = mail;
  return {
    ...storedFields(mail as SetFields, timings),
    verdicts: storedVerdicts(verdicts, timings, body),
    ...(timings !== undefined && { timings: eachOf(timings, storedTimes) }),
    history: mail.history.map(storedEntry),
  };
}

/** What a change sets, by paths. */
export function storedChange(change: MailChange, form: RecordForm): Document {
  const { set = {}, verdicts = {}, timings = {} } = change;
  const under = (field: string, values: Document) =>
    Object.fromEntries(
      Object.entries(values).map(([name, value]) => [`${field}.${name}`, value as unknown]),
    );
  if (form.v < 2) return { ...set, ...under("verdicts", verdicts), ...under("timings", timings) };
  return {
    ...storedFields(set, timings),
    ...under("verdicts", storedVerdicts(verdicts, timings, form)),
    ...under("timings", eachOf(timings, storedTimes)),
  };
}

export function storedHistory(history: readonly HistoryEntry[], { v }: RecordForm): Document[] {
  return v < 2 ? [...history] : history.map(storedEntry);
}

/** The fields, in any form, in which a field of the record lies. */
export function storedUnder(field: string): string[] {
  return field === "plan" ? ["plan", "planRef"] : [field];
}

function storedFields(fields: SetFields, timings?: Timings): Document {
  const { plan, smtp, recipients, body, header, enriched } = fields;
  const { rcptTo = [], ...others } = smtp ?? {};
  const isTwice =
    rcptTo.length === recipients?.length &&
    rcptTo.every((address, place) => recipients[place]?.address === address);
  return {
    ...without(fields, "plan", "route"),
    ...(plan !== undefined && { planRef: withBytes(planRefOf(plan)) }),
    ...(body !== undefined && { body: withBytes(body) }),
    ...(smtp !== undefined && isTwice && { smtp: others }),
    ...(header !== undefined && { header: storedHeader(header) }),
    ...(enriched !== undefined && { enriched: storedMade(enriched, timings?.enrich) }),
  };
}

/** Such a Message-ID is among the keys that `find` looks up. */
const inBrackets = /^<[^<>]+>$/;

function storedHeader({ messageId, fromDomain, ...summary }: NonNullable<SetFields["header"]>) {
  const isKey = messageId !== undefined && inBrackets.test(messageId);
  return {
    ...summary,
    ...(!isKey && { messageId }),
    ...(fromDomain !== domainIn(summary.fromAddresses) && { fromDomain }),
  };
}

function domainIn(fromAddresses: unknown): string | undefined {
  const isList = Array.isArray(fromAddresses) && fromAddresses.length > 0;
  return isList ? onlyDomainOf(fromAddresses.map(String)) : undefined;
}

type Timings = MailChange["timings"];

interface Times {
  queueMs: number;
  workMs: number;
}

interface Made extends Times {
  sha256: string;
  notes?: string[];
  body?: object | undefined;
}

function storedVerdicts(
  verdicts: Readonly<Record<string, Made | undefined>>,
  timings: Timings,
  raw: Pick<RecordForm, "sha256">,
): Document {
  return eachOf(verdicts, (one, check) => storedMade(one, timings?.[check as CheckKind], raw));
}

/** A verdict, or what the enricher made. The times of the same answer are under `timings`. */
function storedMade(
  made: Made | undefined,
  times: Times | undefined,
  raw?: Pick<RecordForm, "sha256">,
): Document | undefined {
  if (made === undefined) return undefined;
  const { queueMs, workMs, sha256, notes, body: changed, ...stored } = made;
  const isTimed = times !== undefined && queueMs === times.queueMs && workMs === times.workMs;
  return {
    ...(!isTimed && { queueMs: Math.round(queueMs), workMs: Math.round(workMs) }),
    ...withBytes(sha256 === raw?.sha256 ? stored : { ...stored, sha256 }),
    ...(isObject(changed) && { body: withBytes(changed) }),
    ...(notes !== undefined && notes.length > 0 && { notes }),
  };
}

const hashFields = ["sha256", "settingsHash", "verdictsHash", "hash"] as const;
const hex = /^(?:[\da-f]{2})+$/;

function withBytes(fields: Document): Document {
  const stored = { ...fields };
  for (const name of hashFields) {
    const hash: unknown = fields[name];
    if (typeof hash === "string" && hex.test(hash)) stored[name] = Buffer.from(hash, "hex");
  }
  return stored;
}

function withHex(fields: unknown): unknown {
  if (!isObject(fields)) return fields;
  const found = { ...fields };
  for (const name of hashFields) {
    const hash: unknown = fields[name];
    if (hash instanceof Uint8Array) found[name] = Buffer.from(hash).toString("hex");
  }
  return found;
}

function storedTimes(times: Times | undefined): unknown {
  return times && [Math.round(times.queueMs), Math.round(times.workMs)];
}

function storedEntry({ at, event, by, detail, ...facts }: HistoryEntry): Document {
  return {
    t: at,
    e: event,
    ...(by !== undefined && { b: by }),
    ...(detail !== undefined && { d: detail }),
    ...facts,
  };
}

/** What version 2 left out is put back; whatever is not as it should be stays so, for who validates it. */
export function expanded(document: Document): Document {
  if (document["v"] !== 2) return document;
  const { verdicts, enriched, smtp, header, recipients, history } = document;
  const body = withHex(document["body"]);
  const timings = isObject(document["timings"]) ? eachOf(document["timings"], times) : undefined;
  const of: Document = { sha256: asObject(body)["sha256"] as unknown };
  const made = (one: unknown, name: string, also: Document) =>
    isObject(one) ? { ...also, ...asObject(timings?.[name]), ...asObject(withHex(one)) } : one;
  return {
    ...document,
    ...("body" in document && { body }),
    ...("planRef" in document && { planRef: withHex(document["planRef"]) }),
    ...(isObject(smtp) && { smtp: { rcptTo: addressesIn(recipients), ...smtp } }),
    ...(isObject(header) && {
      header: {
        messageId: messageIdIn(document["lookup"]),
        fromDomain: domainIn(header["fromAddresses"]),
        ...header,
      },
    }),
    ...(isObject(verdicts) && {
      verdicts: eachOf(verdicts, (one, check) => made(one, check, of)),
    }),
    ...(isObject(enriched) && {
      enriched: { ...asObject(made(enriched, "enrich", { notes: [] })), ...bodyIn(enriched) },
    }),
    ...(timings !== undefined && { timings }),
    ...(Array.isArray(history) && { history: history.map(entryIn) }),
  };
}

/** Of the plan by which the document's mail goes. */
export function planHashIn({ planRef }: Document): string | undefined {
  const { hash } = asObject(withHex(planRef));
  return typeof hash === "string" ? hash : undefined;
}

function bodyIn(enriched: Document): Document {
  const body: unknown = enriched["body"];
  return body === undefined ? {} : { body: withHex(body) };
}

function times(stored: unknown): unknown {
  if (!Array.isArray(stored)) return stored;
  const [queueMs, workMs] = stored as unknown[];
  return { queueMs, workMs };
}

function addressesIn(recipients: unknown): unknown {
  return Array.isArray(recipients)
    ? recipients.map((one) => asObject(one)["address"] as unknown)
    : undefined;
}

function messageIdIn(lookup: unknown): string | undefined {
  const keys = Array.isArray(lookup) ? (lookup as unknown[]) : [];
  const key = keys.find((one): one is string => typeof one === "string" && one.startsWith("id:"));
  return key === undefined ? undefined : `<${key.slice("id:".length)}>`;
}

/** Who holds no lease writes entries in the long form. */
function entryIn(entry: unknown): unknown {
  if (!isObject(entry) || !("t" in entry)) return entry;
  const { t, e, b, d, ...facts } = entry;
  return {
    ...{ at: t as unknown, event: e as unknown },
    ...(b !== undefined && { by: b as unknown }),
    ...(d !== undefined && { detail: d as unknown }),
    ...facts,
  };
}

function eachOf<In, Out>(
  values: Readonly<Record<string, In>>,
  make: (value: In, name: string) => Out,
): Record<string, Out> {
  return Object.fromEntries(
    Object.entries(values).map(([name, value]) => [name, make(value, name)]),
  );
}

function isObject(value: unknown): value is Document {
  return value !== null && typeof value === "object";
}

function asObject(value: unknown): Document {
  return isObject(value) ? value : {};
}
