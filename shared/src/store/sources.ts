import type { Db, MongoClient } from "mongodb";
import { unadopted } from "../life/adoption.ts";
import type { MailChange } from "../life/change.ts";
import type { DeathCause } from "../life/events.ts";
import type { MailRecord } from "../mail/record.ts";
import {
  letterOf,
  readStub,
  type AdoptionDeps,
  type AdoptionRules,
  type Read,
} from "./adoption.ts";
import { followChanges } from "./change-stream.ts";
import { collectionOf, reach } from "./connection.ts";
import { idIn } from "./foreign-bson.ts";
import type { Claim } from "./mails.ts";
import type { SourceConfig } from "./source-config.ts";
import { recordsOf, sourceRecords } from "./source-records.ts";
import { takeRecords, type Door, type Taken } from "./source-stubs.ts";

/** Mail that others put into MongoDB. */
export interface SourceStore {
  /**
   * Takes on up to `limit` records that are not mails yet: each becomes a stub that `owner` holds. A
   * stub's id derives from the source's name and the record's `_id`, so that any number may do this at
   * once. What is not taken stays in the source.
   * @throws RetryableError STORE_UNREACHABLE
   */
  take(source: SourceConfig, by: Pick<Claim, "limit" | "owner" | "leaseMs">): Promise<Taken>;
  /**
   * Reads the record of a stub that the caller holds, and says what it becomes, for the caller to
   * write. Done twice it comes to the same.
   * @throws RetryableError STORE_UNREACHABLE; a record that fits no form never throws
   */
  read(source: SourceConfig, stub: MailRecord, rules: AdoptionRules): Promise<Read>;
  /** What a stub becomes whose record must not be read. */
  unread(stub: MailRecord, why: string, cause: DeathCause): Promise<MailChange>;
  /** Says in the record of a mail what it became, if the source allows that. The mail must be durable. */
  mark(source: SourceConfig, mail: MailRecord): Promise<void>;
  /** Calls `onHint` when records come into the source, until `signal` aborts. Never throws (I6). */
  watch(source: SourceConfig, onHint: () => void, signal: AbortSignal): Promise<void>;
}

export function createSourceStore(
  deps: AdoptionDeps & { db: Db; client: MongoClient },
): SourceStore {
  const { client, db, log } = deps;
  const mails = collectionOf(db, "mails");
  const doors = new Map<string, Door>();
  const doorOf = (source: SourceConfig) => {
    const known = doors.get(source.name);
    if (known?.source === source) return known;
    const door = { deps, source, records: sourceRecords(deps, source), mails };
    doors.set(source.name, door);
    return door;
  };
  return {
    take: (source, by) => reach(() => takeRecords(doorOf(source), by)),
    read: (source, stub, rules) =>
      reach(() => readStub({ ...deps, records: doorOf(source).records }, source, stub, rules)),
    unread: (stub, why, cause) =>
      reach(async () => {
        const id = idIn(stub.origin.record);
        return unadopted(stub, await letterOf(deps, stub, { _id: id }, why, { cause }));
      }),
    mark: (source, mail) =>
      reach(() => doorOf(source).records.mark(idIn(mail.origin.record), mail)),
    watch: (source, onHint, signal) =>
      followChanges({
        signal,
        log,
        name: `source ${source.name}`,
        onChange: onHint,
        onLost: onHint,
        open: (at) =>
          recordsOf(client, source).watch(
            [{ $match: { operationType: "insert" } }, { $project: { operationType: 1 } }],
            at,
          ),
      }),
  };
}
