import { ObjectId, type Document, type MongoClient } from "mongodb";
import { adoptedMailId } from "../ids.ts";
import { messageOf, RsError } from "../errors.ts";
import { adopted, letterExpiry, recordGone, unadopted, unreadYet } from "../life/adoption.ts";
import type { MailChange } from "../life/change.ts";
import type { DeathCause } from "../life/events.ts";
import { buried } from "../life/dead-letter.ts";
import type { Logger } from "../logger.ts";
import type { Limits } from "../mail/admission.ts";
import { canonicalize } from "../mail/canonical.ts";
import type { MailRecord, RecordVersion } from "../mail/record.ts";
import type { PolicyBook } from "../policy/effective.ts";
import { acceptMail } from "./acceptance.ts";
import { joinChunks, type BodyStore } from "./bodies.ts";
import { durable, isPassing } from "./connection.ts";
import type { DatabaseClock } from "./database-clock.ts";
import { extendedJson, formerIdText, idIn, idText } from "./foreign-bson.ts";
import type { MailStore } from "./mails.ts";
import { judgeSourceRecord, type SourceAcceptance } from "./source-acceptance.ts";
import type { SourceConfig } from "./source-config.ts";
import {
  decodeZlibBase64,
  readSourceRecord,
  type SourceBody,
  type SourceRecord,
} from "./source-record.ts";
import type { SourceRecords } from "./source-records.ts";

export interface AdoptionDeps {
  client: MongoClient;
  clock: DatabaseClock;
  log: Logger;
  mails: Pick<MailStore, "insert">;
  bodies: Pick<BodyStore, "put">;
  version: () => RecordVersion;
}

/** What came of reading a stub's record, to be written by its holder. `pending`: its file is not there yet. */
export interface Read {
  kind: "adopted" | "dead" | "gone" | "pending";
  change: MailChange;
}

/** A record may be a moment older than its file, if a source writes them in that order. */
const fileWithinMs = 60_000;
/** One that comes from further in the future does not say how old it is. */
const clocksDifferMs = 600_000;
const fileRetryMs = 2_000;

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

/** What adopting a record depends on beside the record: names, limits, and whose recipients are ours. */
export interface AdoptionRules extends Limits {
  book: () => Pick<PolicyBook, "acceptsRecipient">;
}

interface Reading {
  deps: AdoptionDeps;
  source: SourceConfig;
  stub: MailRecord;
  document: Document;
}

/**
 * Reads the record of a stub: it becomes a mail, or a dead letter that holds the record whole and says
 * why. Body and letters are durable then; the stub is its holder's to write. Whatever is in the
 * record, nothing but the store's own trouble is thrown. A `document` of undefined is one that is gone.
 */
export async function readStub(
  deps: AdoptionDeps & { records: Pick<SourceRecords, "read"> },
  source: SourceConfig,
  stub: MailRecord,
  rules: AdoptionRules,
): Promise<Read> {
  const document = await deps.records.read(idIn(stub.origin.record));
  if (document === undefined)
    return { kind: "gone", change: recordGone(stub, { now: deps.clock.now() }) };
  const reading = { deps, source, stub, document };
  try {
    return await adoptReadable(reading, rules);
  } catch (error) {
    if (error instanceof RsError || isPassing(error)) throw error;
    deps.log.error({ err: error, source: source.name }, "a source record cannot be processed");
    return dead(reading, `it cannot be processed: ${messageOf(error)}`);
  }
}

async function adoptReadable(reading: Reading, rules: AdoptionRules): Promise<Read> {
  const { deps, source, document, stub } = reading;
  const read = readSourceRecord(source, document);
  if ("reason" in read) return dead(reading, read.reason);
  const { record } = read;
  const body = await readBody(deps.client, source, record.body, rules.maxMailBytes);
  if (body.kind === "absent") return withoutFile(reading, record);
  if (body.kind === "wrong") return dead(reading, body.reason);
  const { way, accepted, refused } = judgeSourceRecord(source, record, rules.book());
  if (accepted.length === 0) return dead(reading, refusalsOf(refused), "refused");
  const mail = acceptMail(
    {
      mailId: stub._id,
      canonical: canonicalize(body.bytes),
      origin: {
        ...stub.origin,
        ...way,
        ...(source.mode === "scan-only" && { scanOnly: true }),
        ...(record.recordedAt !== undefined && { recordedAt: record.recordedAt }),
      },
      direction: way.outgoing === true ? "outgoing" : "incoming",
      smtp: { ...record.smtp, rcptTo: accepted },
      protocol: "SMTP",
      at: deps.clock.now(),
    },
    {
      ...rules,
      store: async (raw, mailOf) => adopted(stub, mailOf(await deps.bodies.put(raw))),
    },
  );
  if ("objection" in mail) {
    const { status, text } = mail.objection;
    return dead(reading, `${status} ${text}`, "refused");
  }
  const change = await mail.kept;
  // The letter first: with the mail the record is adopted.
  if (refused.length > 0) await keepRefused(reading, refused);
  return { kind: "adopted", change };
}

/** A young record is given time for its file. */
function withoutFile(reading: Reading, record: SourceRecord): Promise<Read> {
  const now = reading.deps.clock.now().getTime();
  const age = now - createdAt(reading.document, record);
  const isYoung = age < fileWithinMs && age > -clocksDifferMs;
  if (!isYoung) return dead(reading, "its GridFS file is not there");
  const retryAt = new Date(now + fileRetryMs);
  const change = unreadYet(reading.stub, { reason: "its GridFS file is not there yet", retryAt });
  return Promise.resolve({ kind: "pending", change });
}

type Refused = SourceAcceptance["refused"];

function refusalsOf(refused: Refused): string {
  return refused.map(({ address, why }) => `${address}: ${why}`).join("; ");
}

async function dead(
  { deps, stub, document }: Reading,
  why: string,
  cause?: DeathCause,
): Promise<Read> {
  const letter = await letterOf(deps, stub, document, why, cause === undefined ? {} : { cause });
  return { kind: "dead", change: unadopted(stub, letter) };
}

/** Recipients whose mail is not taken end in a letter of their own (I1); the others have their mail. */
async function keepRefused({ deps, stub, document }: Reading, refused: Refused): Promise<void> {
  const letter = await letterOf(deps, stub, document, refusalsOf(refused), {
    mailId: `${stub._id}-refused`,
    rcptTo: refused.map(({ address }) => address),
    cause: "refused",
  });
  await deps.mails.insert(letter);
}

/** A dead letter whose body is the record itself, or what may be known of it, as canonical Extended JSON. */
export async function letterOf(
  { clock, bodies, log }: Pick<AdoptionDeps, "clock" | "bodies" | "log">,
  { _id, origin }: Pick<MailRecord, "_id" | "origin">,
  document: Document,
  why: string,
  {
    mailId = _id,
    rcptTo,
    cause,
  }: { mailId?: string; rcptTo?: readonly string[]; cause?: DeathCause } = {},
): Promise<MailRecord> {
  const reason = `record of source ${origin.name}: ${why}`.slice(0, 1000);
  const body = await bodies.put(Buffer.from(extendedJson(document), "utf8"));
  const smtp = document.smtp as { mailFrom?: unknown; rcptTo?: unknown } | null | undefined;
  const given: unknown = rcptTo ?? smtp?.rcptTo ?? document.rcpt;
  const recipients: unknown[] = Array.isArray(given) ? given.slice(0, 10_000) : [];
  const salvage = {
    origin,
    body,
    smtp: {
      mailFrom: boundedPath(smtp?.mailFrom ?? document.sender),
      rcptTo: recipients.map(boundedPath),
      client: { address: "", name: "", helo: "" },
    },
  };
  const now = clock.now();
  log.error({ mailId, source: origin.name, reason }, "a source record is a dead letter");
  return { ...buried(salvage, mailId, reason, now, cause), expireAt: letterExpiry(now) };
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
