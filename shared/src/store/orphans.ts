import { ObjectId, type Collection, type Db } from "mongodb";
import type { Clock } from "../clock.ts";
import type { Logger } from "../logger.ts";
import type { BodyRef } from "../mail/record.ts";
import { bucketName } from "./bodies.ts";
import { unneededOf, type BodyRemoval } from "./body-removal.ts";
import { collectionOf, type StoredDocument } from "./connection.ts";

interface OrphanDeps {
  db: Db;
  clock: Clock;
  log: Logger;
  mails: Collection<StoredDocument>;
  removal: BodyRemoval;
}

/**
 * A younger body may belong to a mail that is just being stored, or to one whose holder waits for the
 * database to come back.
 */
export const orphanAgeMs = 24 * 3_600_000;

interface Sizes {
  page: number;
  /** Pages of each kind that one sweep reads: it stays short whatever is stored. */
  pages: number;
}

/**
 * Finds bodies to which no mail points: left over when a service died between body and mail, when two
 * stored the same mail, or when the TTL index was quicker than retention. Each call looks at some pages
 * of each kind, oldest first, and goes on from there the next time. What is found is removed by the next
 * call, if nothing points to it then: in between, writes come in that a pause had held up.
 */
export function createOrphanSweep(
  deps: OrphanDeps,
  sizes: Sizes = { page: 1_000, pages: 10 },
): () => Promise<number> {
  const walks = [
    createWalk(deps, sizes, { form: "document", collection: "bodies", field: "createdAt" }),
    createWalk(deps, sizes, {
      form: "gridfs",
      collection: `${bucketName}.files`,
      field: "uploadDate",
    }),
    createChunkWalk(deps, sizes.page),
  ];
  return async () => {
    let removed = 0;
    for (const walk of walks) removed += await walk();
    return removed;
  };
}

function createWalk(
  { db, clock, mails, removal, log }: OrphanDeps,
  sizes: Sizes,
  kind: { form: BodyRef["form"]; collection: string; field: string },
): () => Promise<number> {
  const { form, field } = kind;
  const stored = collectionOf(db, kind.collection);
  let from = new Date(0);
  let found: string[][] = [];

  /** The ids of the next page; fewer than a page: it was the last, and the next is the first again. */
  const nextPage = async () => {
    const page = await stored
      .find(orphanFilter(field, from, clock.now()), {
        projection: { _id: 1, [field]: 1 },
        sort: { [field]: 1, _id: 1 },
        limit: sizes.page,
      })
      .toArray();
    const last = page.at(-1)?.[field] as Date | undefined;
    const isWhole = page.length === sizes.page && last !== undefined;
    // A page that is all of one instant must not be read forever.
    from = isWhole ? new Date(Math.max(last.getTime(), from.getTime() + 1)) : new Date(0);
    return page.map(({ _id }) => _id);
  };

  return async () => {
    let removed = 0;
    for (const ids of found) removed += await removal.remove(form, ids);
    found = [];
    if (removed > 0) log.info({ form, bodies: removed }, "orphaned bodies removed");
    for (let pages = 1; pages <= sizes.pages; pages++) {
      const ids = await nextPage();
      const orphans = await unneededOf(mails, ids);
      if (orphans.length > 0) found.push(orphans);
      if (ids.length < sizes.page) break;
    }
    return removed;
  };
}

/** Bodies that are old enough, from an instant on; served by the index on their date. */
export function orphanFilter(field: string, from: Date, now: Date) {
  return { [field]: { $gte: from, $lt: new Date(now.getTime() - orphanAgeMs) } };
}

/** Chunks whose upload was cut off have no file. Goes from file id to file id by the index. */
function createChunkWalk({ db, clock }: OrphanDeps, idsPerSweep: number): () => Promise<number> {
  const files = collectionOf(db, `${bucketName}.files`);
  const chunks = db.collection<{ files_id: string }>(`${bucketName}.chunks`);
  let after = "";
  let found: string[] = [];

  const withoutFile = async (ids: string[]) => {
    if (ids.length === 0) return [];
    const there = await files.find({ _id: { $in: ids } }, { projection: { _id: 1 } }).toArray();
    const whole = new Set(there.map(({ _id }) => _id));
    return ids.filter((id) => !whole.has(id));
  };

  return async () => {
    const cutOff = await withoutFile(found);
    if (cutOff.length > 0) await chunks.deleteMany({ files_id: { $in: cutOff } });
    const old: string[] = [];
    for (let step = 0; step < idsPerSweep; step++) {
      const chunk = await chunks.findOne(
        { files_id: { $gt: after } },
        { projection: { files_id: 1 }, sort: { files_id: 1 } },
      );
      after = chunk?.files_id ?? "";
      if (chunk === null) break;
      const youngest = ObjectId.createFromTime((clock.now().getTime() - orphanAgeMs) / 1000);
      if (chunk._id instanceof ObjectId && chunk._id.toHexString() < youngest.toHexString())
        old.push(chunk.files_id);
    }
    found = await withoutFile(old);
    return cutOff.length;
  };
}
