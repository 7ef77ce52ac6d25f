import { ObjectId, type Collection } from "mongodb";
import type { BodyRef } from "../mail/record.ts";
import { bucketName } from "./bodies.ts";
import { collectionOf, type StoredDocument } from "./connection.ts";
import { neededBodies, type RetentionDeps } from "./retention.ts";

type Stored = Collection<StoredDocument>;
type OrphanDeps = RetentionDeps & { mails: Stored };

/** A younger body may belong to a mail that is just being stored. */
export const orphanAgeMs = 24 * 3_600_000;

/**
 * Finds bodies to which no mail points: left over when a service died between body and mail, or when
 * the TTL index was quicker than retention. Each call looks at one page of each kind, oldest first,
 * and goes on from there the next time, so that a sweep stays short whatever is stored. A body is
 * asked for a second time right before it is removed.
 */
export function createOrphanSweep(deps: OrphanDeps, pageSize = 1_000): () => Promise<number> {
  const walks = [
    createWalk(deps, pageSize, { form: "document", collection: "bodies", field: "createdAt" }),
    createWalk(deps, pageSize, {
      form: "gridfs",
      collection: `${bucketName}.files`,
      field: "uploadDate",
    }),
  ];
  const sweepChunks = createChunkWalk(deps, pageSize);
  return async () => {
    let removed = 0;
    for (const walk of walks) removed += await walk();
    return removed + (await sweepChunks());
  };
}

function createWalk(
  { db, clock, bodies, mails, log }: OrphanDeps,
  pageSize: number,
  kind: { form: BodyRef["form"]; collection: string; field: string },
): () => Promise<number> {
  const { form, field } = kind;
  const stored = collectionOf(db, kind.collection);
  let from = new Date(0);
  return async () => {
    const page = await stored
      .find(orphanFilter(field, from, clock.now()), {
        projection: { _id: 1, [field]: 1 },
        sort: { [field]: 1, _id: 1 },
        limit: pageSize,
      })
      .toArray();
    const last = page.at(-1)?.[field] as Date | undefined;
    const isWhole = page.length === pageSize && last !== undefined;
    // A page that is all of one instant must not be read for ever.
    from = isWhole ? new Date(Math.max(last.getTime(), from.getTime() + 1)) : new Date(0);

    const ids = page.map(({ _id }) => _id);
    const orphans = await unneededOf(mails, ids);
    const still = await unneededOf(mails, orphans);
    for (const id of still) await bodies.delete({ id, form });
    if (still.length > 0) log.info({ form, bodies: still.length }, "orphaned bodies removed");
    return still.length;
  };
}

/** Bodies that are old enough, from an instant on; served by the index on their date. */
export function orphanFilter(field: string, from: Date, now: Date) {
  return { [field]: { $gte: from, $lt: new Date(now.getTime() - orphanAgeMs) } };
}

async function unneededOf(mails: Stored, ids: readonly string[]): Promise<string[]> {
  if (ids.length === 0) return [];
  const needed = await neededBodies(mails, ids);
  return ids.filter((id) => !needed.has(id));
}

/** Chunks whose upload was cut off have no file. Goes from file id to file id by the index. */
function createChunkWalk({ db, clock }: OrphanDeps, pageSize: number): () => Promise<number> {
  const files = collectionOf(db, `${bucketName}.files`);
  const chunks = db.collection<{ files_id: string }>(`${bucketName}.chunks`);
  let after = "";
  return async () => {
    let removed = 0;
    for (let step = 0; step < pageSize; step++) {
      const chunk = await chunks.findOne(
        { files_id: { $gt: after } },
        { projection: { files_id: 1 }, sort: { files_id: 1 } },
      );
      if (chunk === null) {
        after = "";
        return removed;
      }
      after = chunk.files_id;
      const youngest = ObjectId.createFromTime((clock.now().getTime() - orphanAgeMs) / 1000);
      const isOld =
        chunk._id instanceof ObjectId && chunk._id.toHexString() < youngest.toHexString();
      if (!isOld || (await files.findOne({ _id: after }, { projection: { _id: 1 } })) !== null)
        continue;
      await chunks.deleteMany({ files_id: after });
      removed += 1;
    }
    return removed;
  };
}
