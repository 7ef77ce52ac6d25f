import { ObjectId, type Collection, type Db, type Document, type MongoClient } from "mongodb";
import pLimit from "p-limit";
import { messageOf } from "../errors.ts";
import { adoptRecord, mailIdOf, type Adopted, type AdoptionDeps } from "./adoption.ts";
import { followChanges } from "./change-stream.ts";
import { collectionOf, durable, isPassing, reach, type StoredDocument } from "./connection.ts";
import type { SourceConfig } from "./source-config.ts";

/** What one pass over a source did. */
export interface AdoptionPass {
  /** Mails made from records. */
  adopted: number;
  /** Records that fit no form: they became dead letters. */
  dead: number;
  /** True where the limit ended the pass: there may be more. */
  more: boolean;
}

/** How to adopt. */
export interface AdoptionOptions {
  limit: number;
  /** The name in the Received field. */
  hostname: string;
  /** Larger mail becomes a dead letter. */
  maxMailBytes: number;
}

/** Mail that others put into MongoDB. */
export interface SourceStore {
  /**
   * Adopts up to `limit` records that are not yet adopted. Idempotent: the mail's id derives from
   * the source's name and the record's `_id`, and any number of adopters may run at once.
   * @throws RetryableError STORE_UNREACHABLE; a record that fits no form never throws
   */
  adopt(source: SourceConfig, options: AdoptionOptions): Promise<AdoptionPass>;
  /** Calls `onHint` when records come into the source, until `signal` aborts. Never throws (I6). */
  watch(source: SourceConfig, onHint: () => void, signal: AbortSignal): Promise<void>;
}

type SourceDeps = AdoptionDeps & { client: MongoClient; db: Db };
type Records = Collection<{ _id: unknown }>;

/** Records are adopted this many at once; each holds its raw mail in memory. */
const atOnce = 4;
const pageSize = 100;
/**
 * ObjectIds are made by the writers' clocks, to the second: a record may come to be seen after one
 * with a higher id. Where records are not marked, so much is looked at again.
 */
const overlapSeconds = 600;

export function createSourceStore(deps: SourceDeps): SourceStore {
  const { client, db, log } = deps;
  const checkpoints = collectionOf(db, "checkpoints");
  const mails = collectionOf(db, "mails");
  const indexed = new Set<string>();
  const recordsOf = (source: SourceConfig): Records =>
    client.db(source.db, durable).collection<{ _id: unknown }>(source.collection, durable);

  async function adopt(source: SourceConfig, options: AdoptionOptions): Promise<AdoptionPass> {
    const records = recordsOf(source);
    if (source.mark && !indexed.has(source.name)) {
      await indexFor(source, records).catch((error: unknown) =>
        log.warn({ source: source.name, reason: messageOf(error) }, "source has no index of ours"),
      );
      indexed.add(source.name);
    }
    const pass = { adopted: 0, dead: 0, more: false };
    let after = source.mark ? undefined : await checkpointOf(checkpoints, source);
    for (;;) {
      const page = await nextPage(records, source, after);
      const last = page.at(-1);
      if (last === undefined) return pass;
      const fresh = await notAdopted(mails, source, page);
      const room = options.limit - pass.adopted - pass.dead;
      const adopted = await adoptAll(deps, source, fresh.slice(0, room), options, records);
      for (const { kind } of adopted) if (kind !== "pending") pass[kind] += 1;
      if (fresh.length > room) return { ...pass, more: true };
      if (!source.mark) await moveCheckpoint(checkpoints, source, last._id);
      after = last._id;
    }
  }

  return {
    adopt: (source, options) => reach(() => adopt(source, options)),
    watch: (source, onHint, signal) =>
      followChanges({
        signal,
        log,
        name: `source ${source.name}`,
        onChange: onHint,
        onLost: onHint,
        open: (at) =>
          recordsOf(source).watch(
            [{ $match: { operationType: "insert" } }, { $project: { operationType: 1 } }],
            at,
          ),
      }),
  };
}

/** The records that may wait for adoption, in the order of their ids; served by an index. */
export function waitingFilter(source: SourceConfig, after: unknown): Document {
  const unmarked =
    source.form === "native"
      ? { state: "incoming" }
      : source.mark
        ? { "adopted.mailId": null }
        : {};
  return { ...unmarked, ...(after === undefined ? {} : { _id: { $gt: after } }) };
}

function nextPage(records: Records, source: SourceConfig, after: unknown) {
  return records
    .find(waitingFilter(source, after), { sort: { _id: 1 }, limit: pageSize })
    .toArray();
}

async function indexFor(source: SourceConfig, records: Records): Promise<void> {
  const field = source.form === "native" ? "state" : "adopted.mailId";
  await records.createIndex({ [field]: 1, _id: 1 });
}

/** Those of the page that are no mails yet. Marked ones may be: a crash can come between mail and mark. */
async function notAdopted(
  mails: Collection<StoredDocument>,
  source: SourceConfig,
  page: Document[],
): Promise<Document[]> {
  if (source.mark) return page;
  const ids = page.map(({ _id }) => mailIdOf(source, _id));
  const there = await mails.find({ _id: { $in: ids } }, { projection: { _id: 1 } }).toArray();
  const known = new Set(there.map(({ _id }) => _id));
  return page.filter((_, index) => !known.has(ids[index] ?? ""));
}

function adoptAll(
  deps: SourceDeps,
  source: SourceConfig,
  page: Document[],
  options: AdoptionOptions,
  records: Records,
): Promise<Adopted[]> {
  const limit = pLimit(atOnce);
  return Promise.all(
    page.map((document) =>
      limit(async () => {
        const adopted = await adoptRecord(deps, source, document, options);
        if (source.mark) await mark(deps, source, records, document, adopted);
        return adopted;
      }),
    ),
  );
}

/** Not marked is no reason to stop: others wait, and the mail is there, whatever is adopted again. */
async function mark(
  { clock, log }: SourceDeps,
  source: SourceConfig,
  records: Records,
  record: Document,
  adopted: Adopted,
): Promise<void> {
  if (adopted.kind === "pending") return;
  const { mailId } = adopted;
  const note = {
    mailId,
    at: clock.now(),
    ...(adopted.kind === "dead" ? { reason: adopted.reason } : {}),
  };
  const state = source.form === "native" ? { state: "adopted" } : {};
  const which: Document = { _id: record._id as unknown };
  try {
    await records.updateOne(which, { $set: { ...state, adopted: note } });
  } catch (error) {
    if (isPassing(error)) throw error;
    log.error({ source: source.name, mailId, reason: messageOf(error) }, "a record takes no mark");
    // Of almost 16 MB: a native record still has room for its state, which grows shorter.
    const small = source.form === "native" ? state : { adopted: { mailId } };
    await records.updateOne(which, { $set: small }).catch((again: unknown) => {
      if (isPassing(again)) throw again;
    });
  }
}

/** Where an unmarked source is to be read from: the last adopted id less the overlap. */
async function checkpointOf(
  checkpoints: Collection<StoredDocument>,
  source: SourceConfig,
): Promise<unknown> {
  const last: unknown = (await checkpoints.findOne({ _id: source.name }))?.last;
  if (!(last instanceof ObjectId)) return undefined;
  const seconds = Math.max(0, last.getTimestamp().getTime() / 1000 - overlapSeconds);
  return ObjectId.createFromTime(seconds);
}

async function moveCheckpoint(
  checkpoints: Collection<StoredDocument>,
  source: SourceConfig,
  last: unknown,
): Promise<void> {
  if (!(last instanceof ObjectId)) return;
  await checkpoints.updateOne({ _id: source.name }, { $max: { last } }, { upsert: true });
}
