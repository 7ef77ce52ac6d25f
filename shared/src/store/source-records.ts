import { ObjectId, type Collection, type Db, type Document, type MongoClient } from "mongodb";
import type { Logger } from "../logger.ts";
import { messageOf } from "../errors.ts";
import type { MailRecord } from "../mail/record.ts";
import { mailIdOf } from "./adoption.ts";
import { collectionOf, durable, isPassing } from "./connection.ts";
import type { DatabaseClock } from "./database-clock.ts";
import { laterTypes } from "./bson-order.ts";
import { asWritten, bytesOf, sendable } from "./foreign-bson.ts";
import { upserting } from "./inserts.ts";
import type { SourceConfig } from "./source-config.ts";

/** A record that may wait for adoption, of which nothing is known yet but its `_id`. */
export interface Waiting {
  id: unknown;
  mailId: string;
}

/** The records of one source: which of them wait, what is in them, and our mark on them. */
export interface SourceRecords {
  /** Where reading has to begin; undefined: at the first. */
  start(): Promise<unknown>;
  /** The next ones after `after`, in the order of their ids. */
  page(after: unknown): Promise<Waiting[]>;
  /** Whether there is a record of this `_id`, waiting or not. */
  has(id: unknown): Promise<boolean>;
  /** The record, marked or not; undefined: it is gone, or its owner has taken it back. */
  read(id: unknown): Promise<Document | undefined>;
  /** Says in the record what it became, if the source allows that. */
  mark(id: unknown, mail: Pick<MailRecord, "_id" | "state" | "reason">): Promise<void>;
  /** Everything up to this id was taken on. */
  passed(id: unknown): Promise<void>;
}

const pageSize = 100;
/**
 * ObjectIds are made by the writers' clocks, to the second: a record may come to be seen after one
 * with a higher id. Where records are not marked, so much is looked at again.
 */
const overlapSeconds = 600;
/** What MongoDB's indexes took before version 4.2. Longer ones do not fit into stubs and marks. */
export const maxIdBytes = 1_024;

export function isTooLong(id: unknown): boolean {
  return bytesOf(id).length > maxIdBytes;
}

export function sourceRecords(
  deps: { client: MongoClient; db: Db; clock: DatabaseClock; log: Logger },
  source: SourceConfig,
): SourceRecords {
  const { client, db, log } = deps;
  const checkpoints = collectionOf(db, "checkpoints");
  const records = recordsOf(client, source);
  let isIndexed = !source.mark;
  const next = (which: Document, limit = pageSize) =>
    records
      .find(
        { ...unmarked(source), ...which },
        {
          ...asWritten,
          projection: { _id: 1 },
          sort: { _id: 1 },
          limit,
        },
      )
      .toArray();
  return {
    async start() {
      if (!isIndexed) {
        const field = source.form === "native" ? "state" : "adopted.mailId";
        await records
          .createIndex({ [field]: 1, _id: 1 })
          .catch((error: unknown) =>
            log.warn(
              { source: source.name, reason: messageOf(error) },
              "source has no index of ours",
            ),
          );
        isIndexed = true;
      }
      if (source.mark) return undefined;
      const last: unknown = (await checkpoints.findOne({ _id: source.name }))?.last;
      if (!(last instanceof ObjectId)) return undefined;
      const seconds = Math.max(0, last.getTimestamp().getTime() / 1000 - overlapSeconds);
      return ObjectId.createFromTime(seconds);
    },

    async page(after) {
      const found = await next(after === undefined ? {} : { _id: { $gt: sendable(after) } });
      // `$gt` finds ids of the same type only; the others come after them.
      const types = after === undefined ? [] : laterTypes(after);
      if (found.length < pageSize && types.length > 0)
        found.push(...(await next({ _id: { $type: types } }, pageSize - found.length)));
      // As a filter, nothing at all would be every record.
      const named = found.filter(({ _id }: { _id?: unknown }) => _id !== undefined);
      return named.map(({ _id }) => ({ id: _id, mailId: mailIdOf(source, _id) }));
    },

    async has(id) {
      const which = { _id: { $eq: sendable(id) } } as Document;
      return (await records.findOne(which, { projection: { _id: 1 } })) !== null;
    },

    async read(id) {
      const state = source.form === "native" ? { state: { $in: ["incoming", "adopted"] } } : {};
      const which = { ...state, _id: { $eq: sendable(id) } } as Document;
      return (await records.findOne(which, asWritten)) ?? undefined;
    },

    async mark(id, mail) {
      if (source.mark) await mark(deps, source, records, id, mail);
    },

    async passed(id) {
      if (source.mark || !(id instanceof ObjectId)) return;
      await upserting(() =>
        checkpoints.updateOne({ _id: source.name }, { $max: { last: id } }, { upsert: true }),
      );
    },
  };
}

type Records = Collection<{ _id: unknown }>;

export function recordsOf(client: MongoClient, source: SourceConfig): Records {
  return client.db(source.db, durable).collection<{ _id: unknown }>(source.collection, durable);
}

/** The records that may wait for adoption; served by an index, in the order of their ids. */
function unmarked(source: SourceConfig): Document {
  if (source.form === "native") return { state: "incoming" };
  return source.mark ? { "adopted.mailId": null } : {};
}

/** Not marked is no reason to stop: the mail is there, and its record is not taken on again. */
async function mark(
  { clock, log }: { clock: DatabaseClock; log: Logger },
  source: SourceConfig,
  records: Records,
  id: unknown,
  { _id: mailId, state: end, reason }: Parameters<SourceRecords["mark"]>[1],
): Promise<void> {
  const note = {
    mailId,
    at: clock.now(),
    ...(end === "dead" && reason !== undefined ? { reason } : {}),
  };
  const state = source.form === "native" ? { state: "adopted" } : {};
  const which = { _id: { $eq: sendable(id) } } as Document;
  try {
    await records.updateOne(which, { $set: { ...state, adopted: note } });
  } catch (error) {
    if (isPassing(error)) throw error;
    log.error(
      { source: source.name, mailId, reason: messageOf(error) },
      "a record cannot be marked",
    );
    // Of almost 16 MB: a native record still has room for its state, which grows shorter.
    const small = source.form === "native" ? state : { adopted: { mailId } };
    await records.updateOne(which, { $set: small }).catch((again: unknown) => {
      if (isPassing(again)) throw again;
    });
  }
}
