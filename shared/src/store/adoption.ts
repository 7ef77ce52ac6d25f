import { ObjectId, type Document, type MongoClient } from "mongodb";
import { adoptedMailId } from "../ids.ts";
import { messageOf, RsError } from "../errors.ts";
import { adopted } from "../life/beginnings.ts";
import { buried } from "../life/dead-letter.ts";
import type { Logger } from "../logger.ts";
import { maxHeaderBytes, maxHeaderFields, objectionTo } from "../mail/admission.ts";
import { canonicalize } from "../mail/canonical.ts";
import { headerSummary } from "../mail/header-summary.ts";
import { receivedBefore } from "../mail/received.ts";
import type { BodyRef, MailRecord } from "../mail/record.ts";
import type { SmtpEnvelope } from "../mail/smtp-envelope.ts";
import type { PolicyBook } from "../policy/effective.ts";
import { joinChunks, type BodyStore } from "./bodies.ts";
import { durable, isPassing } from "./connection.ts";
import type { DatabaseClock } from "./database-clock.ts";
import { extendedJson, formerIdText, idText } from "./foreign-bson.ts";
import type { MailStore } from "./mails.ts";
import { judgeSourceRecord, type SourceAcceptance } from "./source-acceptance.ts";
import type { SourceConfig } from "./source-config.ts";
import {
  decodeZlibBase64,
  readSourceRecord,
  type SourceBody,
  type SourceRecord,
} from "./source-record.ts";

export interface AdoptionDeps {
  client: MongoClient;
  clock: DatabaseClock;
  log: Logger;
  mails: Pick<MailStore, "insert">;
  bodies: Pick<BodyStore, "put">;
}

/** What became of one record. `pending`: its file is not there yet; a later pass looks again. */
export type Adopted =
  | { kind: "adopted"; mailId: string }
  | { kind: "dead"; mailId: string; reason: string }
  | { kind: "pending" };

/** A record may be a moment older than its file, if a source writes them in that order. */
const fileWithinMs = 60_000;
/** One that comes from further in the future does not say how old it is. */
const clocksDifferMs = 600_000;

/** A dead letter of a record goes after this time: strangers can cause one. The record stays in its source. */
const letterMs = 30 * 86_400_000;

/** The id of the mail that a record becomes: always the same, so that adopting twice is harmless. */
export function mailIdOf(source: Pick<SourceConfig, "name">, recordId: unknown): string {
  return adoptedMailId(source.name, idText(recordId));
}

/** The id that its mail had before, and the other record that may have had the same. */
export function formerMailIdOf(
  source: Pick<SourceConfig, "name">,
  recordId: unknown,
): { mailId: string; twin: unknown } | undefined {
  const former = formerIdText(recordId);
  return former && { mailId: adoptedMailId(source.name, former.text), twin: former.twin };
}

/** What adopting a record depends on beside the record. */
export interface AdoptionRules {
  /** The name in the Received field. */
  hostname: string;
  /** Larger mail becomes a dead letter. */
  maxMailBytes: number;
  /** The current policies: whose recipients are ours. */
  book: () => Pick<PolicyBook, "acceptsRecipient">;
}

/**
 * Makes a mail of one source record, or a dead letter that holds the record whole and says why. The
 * record itself is not touched. Whatever is in it, nothing but the store's own trouble is thrown.
 */
export async function adoptRecord(
  deps: AdoptionDeps,
  source: SourceConfig,
  document: Document,
  rules: AdoptionRules,
): Promise<Adopted> {
  try {
    return await adoptReadable(deps, source, document, rules);
  } catch (error) {
    if (error instanceof RsError || isPassing(error)) throw error;
    const why = `it cannot be processed: ${messageOf(error)}`;
    deps.log.error({ err: error, source: source.name }, "a source record cannot be processed");
    return bury(deps, source, { document, mailId: mailIdOf(source, document._id), why });
  }
}

async function adoptReadable(
  deps: AdoptionDeps,
  source: SourceConfig,
  document: Document,
  { hostname, maxMailBytes, book }: AdoptionRules,
): Promise<Adopted> {
  const mailId = mailIdOf(source, document._id);
  const dead = (why: string) => bury(deps, source, { document, mailId, why });
  const read = readSourceRecord(source, document);
  if ("reason" in read) return dead(read.reason);
  const { record } = read;
  const body = await readBody(deps.client, source, record.body, maxMailBytes);
  if (body.kind === "absent") {
    const age = deps.clock.now().getTime() - createdAt(document, record);
    const isYoung = age < fileWithinMs && age > -clocksDifferMs;
    return isYoung ? { kind: "pending" } : dead("its GridFS file is not there");
  }
  if (body.kind === "wrong") return dead(body.reason);

  const raw = canonicalize(body.bytes);
  const objection = whyNotTaken(raw, { hostname, maxMailBytes });
  if (objection !== undefined) return dead(objection);
  const acceptance = judgeSourceRecord(source, record, book());
  if (acceptance.accepted.length === 0) return dead(refusalsOf(acceptance));
  // The letter first: with the mail the record is adopted.
  if (acceptance.refused.length > 0)
    await buryRefused(deps, source, { document, mailId, acceptance });
  const now = deps.clock.now();
  const smtp = { ...record.smtp, rcptTo: acceptance.accepted };
  const traced = Buffer.concat([traceOf(raw, smtp, { mailId, hostname, at: now }), raw]);
  const ref = await deps.bodies.put(traced);
  // Body first, mail second. Where another adopter was quicker, our body is nobody's and will be swept.
  const { recordedAt } = record;
  await deps.mails.insert(
    mailOf({ source, smtp, way: acceptance.way, recordedAt, mailId, ref, raw, now }),
  );
  return { kind: "adopted", mailId };
}

/** As at ingest, for any recipient. */
function whyNotTaken(
  raw: Buffer,
  { hostname, maxMailBytes }: Pick<AdoptionRules, "hostname" | "maxMailBytes">,
): string | undefined {
  if (raw.length > maxMailBytes) return `the mail has more than MAX_MAIL_BYTES (${maxMailBytes})`;
  if (raw.includes(0)) return "5.6.0 the mail has NUL characters";
  const objection = objectionTo(raw, hostname);
  switch (objection?.kind) {
    case "header-bytes":
      return `5.3.4 the header is larger than ${maxHeaderBytes} bytes`;
    case "header-fields":
      return `5.3.4 the header has more than ${maxHeaderFields} fields`;
    case "loop":
      return `5.4.6 the mail goes round in circles: ${objection.why}`;
    case undefined:
      return undefined;
  }
}

function refusalsOf({ refused }: SourceAcceptance): string {
  return refused.map(({ address, why }) => `${address}: ${why}`).join("; ");
}

/** Recipients whose mail is not taken end in a letter of their own (I1); the others have their mail. */
async function buryRefused(
  deps: AdoptionDeps,
  source: SourceConfig,
  of: { document: Document; mailId: string; acceptance: SourceAcceptance },
): Promise<void> {
  const { document, mailId, acceptance } = of;
  await bury(deps, source, {
    document,
    mailId: `${mailId}-refused`,
    why: refusalsOf(acceptance),
    rcptTo: acceptance.refused.map(({ address }) => address),
  });
}

/** A dead letter for a record that nobody must read: it says which one, and holds nothing else of it. */
export function buryUnread(
  deps: AdoptionDeps,
  source: SourceConfig,
  id: unknown,
  why: string,
): Promise<Adopted> {
  return bury(deps, source, { document: { _id: id }, mailId: mailIdOf(source, id), why });
}

function traceOf(
  raw: Buffer,
  { client, rcptTo }: SmtpEnvelope,
  { mailId, hostname, at }: { mailId: string; hostname: string; at: Date },
): Buffer {
  const [only] = rcptTo;
  const forRecipient = rcptTo.length === 1 && only !== undefined ? { forRecipient: only } : {};
  const handover = { client, by: hostname, protocol: "SMTP", mailId, at, ...forRecipient } as const;
  return receivedBefore(raw, handover);
}

function mailOf(from: {
  source: SourceConfig;
  smtp: SmtpEnvelope;
  way: SourceAcceptance["way"];
  recordedAt: Date | undefined;
  mailId: string;
  ref: BodyRef;
  raw: Buffer;
  now: Date;
}): MailRecord {
  const { source, smtp, way, recordedAt, mailId, ref, raw, now } = from;
  return adopted({
    _id: mailId,
    origin: {
      via: "source",
      name: source.name,
      ...way,
      ...(source.mode === "scan-only" ? { scanOnly: true } : {}),
      ...(recordedAt === undefined ? {} : { recordedAt }),
    },
    smtp,
    receivedAt: now,
    body: ref,
    header: { ...headerSummary(raw) },
  });
}

/** A dead letter whose body is the record itself, as canonical Extended JSON. */
async function bury(
  { clock, mails, bodies, log }: AdoptionDeps,
  source: SourceConfig,
  of: { document: Document; mailId: string; why: string; rcptTo?: readonly string[] },
): Promise<Adopted> {
  const { document, mailId, why } = of;
  const reason = `record of source ${source.name}: ${why}`.slice(0, 1000);
  const body = await bodies.put(Buffer.from(extendedJson(document), "utf8"));
  const smtp = document.smtp as { mailFrom?: unknown; rcptTo?: unknown } | null | undefined;
  const given: unknown = of.rcptTo ?? smtp?.rcptTo ?? document.rcpt;
  const rcptTo: unknown[] = Array.isArray(given) ? given.slice(0, 10_000) : [];
  const salvage = {
    body,
    smtp: {
      mailFrom: boundedPath(smtp?.mailFrom ?? document.sender),
      rcptTo: rcptTo.map(boundedPath),
      client: { address: "", name: "", helo: "" },
    },
  };
  const now = clock.now();
  await mails.insert({
    ...buried(salvage, mailId, reason, now),
    origin: { via: "source", name: source.name },
    expireAt: new Date(now.getTime() + letterMs),
  });
  log.error({ mailId, source: source.name, reason }, "a source record is a dead letter");
  return { kind: "dead", mailId, reason };
}

function boundedPath(value: unknown): string {
  return typeof value === "string" ? value.slice(0, 320) : "";
}

type ReadBody =
  { kind: "bytes"; bytes: Buffer } | { kind: "absent" } | { kind: "wrong"; reason: string };

async function readBody(
  client: MongoClient,
  source: SourceConfig,
  body: SourceBody,
  maxMailBytes: number,
): Promise<ReadBody> {
  if (body.kind === "bytes") return body;
  const db = client.db(source.db, durable);
  const file = await db
    .collection(`${source.bucket}.files`, durable)
    .findOne({ _id: body.id } as Document);
  if (file === null) return { kind: "absent" };
  const length = Number(file.length);
  // base64 takes a third more, and what does not compress a little more than that.
  const limit = body.encoding === "raw" ? maxMailBytes : maxMailBytes * 1.5;
  if (!(length <= limit)) return { kind: "wrong", reason: "its file is too large" };
  const chunks = db
    .collection(`${source.bucket}.chunks`, durable)
    .find({ files_id: body.id }, { sort: { n: 1 } });
  const bytes = await joinChunks(chunks, length);
  if (bytes.length !== length) return { kind: "wrong", reason: "its file is incomplete" };
  if (body.encoding === "raw") return { kind: "bytes", bytes };
  const decoded = await decodeZlibBase64(bytes, maxMailBytes);
  return "bytes" in decoded ? { kind: "bytes", ...decoded } : { kind: "wrong", ...decoded };
}

/** Epoch milliseconds at which the record came to be, as far as it tells. */
function createdAt(document: Document, record: SourceRecord): number {
  const id: unknown = document._id;
  if (id instanceof ObjectId) return id.getTimestamp().getTime();
  return record.recordedAt?.getTime() ?? 0;
}
