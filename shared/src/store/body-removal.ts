import type { Collection, Db } from "mongodb";
import type { Clock } from "../clock.ts";
import type { BodyRef } from "../mail/record.ts";
import { bucketName } from "./bodies.ts";
import { collectionOf, type StoredDocument } from "./connection.ts";

type Mails = Collection<StoredDocument>;

/**
 * The only place where bodies are removed (I1):
 * 1. The majority, read from the primary, has no record that points to the body.
 * 2. The body is older than any write that is under way can be. Who stores a record has put its body a
 *    moment before; all tries of that insert together take minutes.
 */
export interface BodyRemoval {
  /** Removes those of the bodies that may go; how many did. */
  remove(form: BodyRef["form"], ids: readonly string[]): Promise<number>;
}

/** A younger body may belong to a record that is just being stored. */
export const underWayMs = 15 * 60_000;

export function createBodyRemoval(deps: { db: Db; mails: Mails; clock: Clock }): BodyRemoval {
  const { db, mails, clock } = deps;
  const documents = collectionOf(db, "bodies");
  const files = collectionOf(db, `${bucketName}.files`);
  const chunks = db.collection<{ files_id: string }>(`${bucketName}.chunks`);
  return {
    async remove(form, ids) {
      const _id = { $in: await unneededOf(mails, ids) };
      if (_id.$in.length === 0) return 0;
      const isOld = { $lt: new Date(clock.now().getTime() - underWayMs) };
      if (form === "document")
        return (await documents.deleteMany({ _id, createdAt: isOld })).deletedCount;
      const old = { _id, uploadDate: isOld };
      const found = await files.find(old, { projection: { _id: 1 } }).toArray();
      // The file first: chunks without a file are nobody's and are swept.
      const { deletedCount } = await files.deleteMany(old);
      await chunks.deleteMany({ files_id: { $in: found.map(({ _id: id }) => id) } });
      return deletedCount;
    },
  };
}

/** Those of the body ids to which no mail points, as its own or its changed body. */
export async function unneededOf(mails: Mails, ids: readonly string[]): Promise<string[]> {
  if (ids.length === 0) return [];
  const among = { $in: [...ids] };
  const [own, changed] = await Promise.all([
    mails.find({ "body.id": among }, { projection: { "body.id": 1 } }).toArray(),
    mails.find({ "enriched.body.id": among }, { projection: { "enriched.body.id": 1 } }).toArray(),
  ]);
  const needed = new Set<string>();
  for (const { body } of own) needed.add((body as BodyRef).id);
  for (const { enriched } of changed) needed.add((enriched as { body: BodyRef }).body.id);
  return ids.filter((id) => !needed.has(id));
}
