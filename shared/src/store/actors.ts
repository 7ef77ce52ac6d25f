import type { Db } from "mongodb";
import { z } from "zod";
import type { Clock } from "../clock.ts";
import { recordVersion } from "../mail/record.ts";
import { collectionOf, reach } from "./connection.ts";
import { upserting } from "./inserts.ts";

/** What a service last reported about itself. */
const actorReportSchema = z
  .looseObject({
    _id: z.string(),
    service: z.string(),
    at: z.date(),
    /** The newest version of records that it reads. */
    records: z.number().optional(),
    snapshot: z.record(z.string(), z.unknown()),
  })
  .transform(({ _id, service, at, records, snapshot }) => ({
    id: _id,
    service,
    at,
    records,
    snapshot,
  }));
export type ActorReport = z.output<typeof actorReportSchema>;

/** How often a service tells about itself: who has said nothing for 10 s is taken to be gone. */
export const reportMs = 4_000;

/** Which services run: for `status` and `doctor`. Nothing is decided by it. */
export interface ActorStore {
  /** Says that the actor is there, with what `status` shall show of it. Every few seconds. */
  report(id: string, service: string, snapshot: object): Promise<void>;
  /** The actor has ended in order. */
  leave(id: string): Promise<void>;
  /** Actors that were heard of within `withinMs` (default 10 s), by the database's clock. */
  all(withinMs?: number): Promise<ActorReport[]>;
}

export function createActorStore(db: Db, clock: Clock): ActorStore {
  const actors = collectionOf(db, "actors");
  return {
    report: (id, service, snapshot) =>
      reach(async () => {
        const said = { service, at: clock.now(), records: recordVersion, snapshot };
        await upserting(() => actors.replaceOne({ _id: id }, said, { upsert: true }));
      }),
    leave: (id) =>
      reach(async () => {
        await actors.deleteOne({ _id: id });
      }),
    all: (withinMs = 10_000) =>
      reach(async () => {
        const since = new Date(clock.now().getTime() - withinMs);
        const documents = await actors.find({ at: { $gte: since } }).toArray();
        return documents.flatMap((document) => {
          const parsed = actorReportSchema.safeParse(document);
          return parsed.success ? [parsed.data] : [];
        });
      }),
  };
}
