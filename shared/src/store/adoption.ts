import { BSON, ObjectId, type Document, type MongoClient } from "mongodb";
import { adoptedMailId } from "../ids.ts";
import type { Logger } from "../logger.ts";
import { canonicalize } from "../mail/canonical.ts";
import { headerSummary } from "../mail/header-summary.ts";
import { inspectTrace, isLoop, receivedField } from "../mail/received.ts";
import { recordVersion, type BodyRef, type MailRecord } from "../mail/record.ts";
import { joinChunks, type BodyStore } from "./bodies.ts";
import { durable } from "./connection.ts";
import type { DatabaseClock } from "./database-clock.ts";
import { deadLetterOf } from "./mail-document.ts";
import type { MailStore } from "./mails.ts";
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

/** A record may be a moment older than its file, where a source writes them in that order. */
const fileWithinMs = 60_000;

/** The id of the mail that a record becomes: always the same, so that adopting twice is harmless. */
export function mailIdOf(source: SourceConfig, recordId: unknown): string {
  const text =
    typeof recordId === "string"
      ? recordId
      : recordId instanceof ObjectId
        ? recordId.toHexString()
        : BSON.EJSON.stringify(recordId);
  return adoptedMailId(source.name, text);
}

/**
 * Makes a mail of one source record, or a dead letter that holds the record whole and says why. The
 * record itself is not touched.
 */
export async function adoptRecord(
  deps: AdoptionDeps,
  source: SourceConfig,
  document: Document,
  { hostname, maxMailBytes }: { hostname: string; maxMailBytes: number },
): Promise<Adopted> {
  const mailId = mailIdOf(source, document._id);
  const read = readSourceRecord(source.form, document);
  if ("reason" in read) return bury(deps, source, document, mailId, read.reason);
  const { record } = read;
  const body = await readBody(deps.client, source, record.body, maxMailBytes);
  if (body.kind === "absent") {
    const age = deps.clock.now().getTime() - createdAt(document, record);
    if (age < fileWithinMs) return { kind: "pending" };
    return bury(deps, source, document, mailId, "its GridFS file is not there");
  }
  if (body.kind === "wrong") return bury(deps, source, document, mailId, body.reason);

  const raw = canonicalize(body.bytes);
  if (raw.length > maxMailBytes) {
    const why = `the mail has more than MAX_MAIL_BYTES (${String(maxMailBytes)})`;
    return bury(deps, source, document, mailId, why);
  }
  if (isLoop(inspectTrace(raw, hostname)))
    return bury(deps, source, document, mailId, "5.4.6 the mail goes round in circles");
  const now = deps.clock.now();
  const traced = Buffer.concat([traceOf(record, mailId, hostname, now), raw]);
  const ref = await deps.bodies.put(traced);
  // Body first, mail second. Where another adopter was quicker, our body is nobody's and will be swept.
  await deps.mails.insert(mailOf({ source, record, mailId, ref, raw, now }));
  return { kind: "adopted", mailId };
}

/** A dead letter for a record that nobody must read: it says which one, and holds nothing else of it. */
export function buryUnread(
  deps: AdoptionDeps,
  source: SourceConfig,
  id: unknown,
  why: string,
): Promise<Adopted> {
  return bury(deps, source, { _id: id }, mailIdOf(source, id), why);
}

function traceOf({ smtp }: SourceRecord, mailId: string, hostname: string, at: Date): Buffer {
  const [only] = smtp.rcptTo;
  return receivedField({
    client: smtp.client,
    by: hostname,
    protocol: "SMTP",
    mailId,
    at,
    ...(smtp.rcptTo.length === 1 && only !== undefined ? { forRecipient: only } : {}),
  });
}

function mailOf(from: {
  source: SourceConfig;
  record: SourceRecord;
  mailId: string;
  ref: BodyRef;
  raw: Buffer;
  now: Date;
}): MailRecord {
  const { source, record, mailId, ref, raw, now } = from;
  return {
    _id: mailId,
    v: recordVersion,
    state: "incoming",
    next: "plan",
    dueAt: now,
    origin: {
      via: "source",
      name: source.name,
      ...(source.outgoing ? { outgoing: true } : {}),
      ...(source.mode === "scan-only" ? { scanOnly: true } : {}),
      ...(record.recordedAt === undefined ? {} : { recordedAt: record.recordedAt }),
    },
    smtp: record.smtp,
    recipients: record.smtp.rcptTo.map((address) => ({ address, outcome: "open", attempts: 0 })),
    receivedAt: now,
    body: ref,
    header: { ...headerSummary(raw) },
    verdicts: {},
    history: [{ at: now, event: "adopted", detail: `from source ${source.name}` }],
  };
}

/** A dead letter whose body is the record itself, as canonical Extended JSON. */
async function bury(
  deps: AdoptionDeps,
  source: SourceConfig,
  document: Document,
  mailId: string,
  why: string,
): Promise<Adopted> {
  const { clock, mails, bodies, log } = deps;
  const reason = `record of source ${source.name}: ${why}`.slice(0, 1000);
  const whole = BSON.EJSON.stringify(document, undefined, 1, { relaxed: false });
  const body = await bodies.put(Buffer.from(whole, "utf8"));
  const smtp = document.smtp as { mailFrom?: unknown; rcptTo?: unknown } | null | undefined;
  const given: unknown = smtp?.rcptTo ?? document.rcpt;
  const rcptTo: unknown[] = Array.isArray(given) ? given.slice(0, 10_000) : [];
  const salvage = {
    body,
    smtp: {
      mailFrom: boundedPath(smtp?.mailFrom ?? document.sender),
      rcptTo: rcptTo.map(boundedPath),
      client: { address: "", name: "", helo: "" },
    },
  };
  const letter = deadLetterOf(salvage, mailId, reason, clock.now());
  await mails.insert({ ...letter, origin: { via: "source", name: source.name } });
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
