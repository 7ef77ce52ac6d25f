import type { Db } from "mongodb";
import type { Clock } from "../clock.ts";
import { collectionOf, reach, unchanged } from "./connection.ts";
import { upserting } from "./inserts.ts";

/** Jobs that one service does for all: each has a lease of its own, in `controls`. */
export interface TurnStore {
  /**
   * True: the job is this owner's until `forMs` from now, and nobody else's. Whoever has it asks again
   * before that is over. What two do by a stopped clock must do no harm: the lease saves work, it guards nothing.
   */
  take(job: string, owner: string, forMs: number): Promise<boolean>;
}

export function createTurnStore(db: Db, clock: Clock): TurnStore {
  const controls = collectionOf(db, "controls");
  return {
    take: (job, owner, forMs) =>
      reach(async () => {
        const _id = `turn:${job}`;
        const lease = { owner, until: new Date(clock.now().getTime() + forMs) };
        const found = await controls.findOne({ _id });
        if (found === null) {
          const first = { $setOnInsert: lease };
          await upserting(() => controls.updateOne({ _id }, first, { upsert: true }));
          return (await controls.findOne({ _id }))?.owner === owner;
        }
        const { owner: holder, until } = found as { owner?: unknown; until?: unknown };
        const isOver = !(until instanceof Date) || until <= clock.now();
        if (holder !== owner && !isOver) return false;
        const same = { _id, owner: unchanged(holder), until: unchanged(until) };
        return (await controls.updateOne(same, { $set: lease })).matchedCount === 1;
      }),
  };
}
