import type { Collection, Db } from "mongodb";
import type { z } from "zod";
import type { Clock } from "../clock.ts";
import type { Logger } from "../logger.ts";
import { bodyRefSchema, type RecordVersion } from "../mail/record.ts";
import { createBodyRemoval, type BodyRemoval } from "./body-removal.ts";
import { collectionOf, reach, type StoredDocument } from "./connection.ts";
import { createOrphanSweep } from "./orphans.ts";
import { mendUnseen } from "./unseen-mails.ts";

/** What one sweep removed or repaired. */
export interface Swept {
  /** Mails whose time was over, and split parents that have no child any more. */
  mails: number;
  /** Bodies to which no mail points any more. */
  bodies: number;
  /** Records that no service could have seen: dead letters or held now. */
  unseen: number;
}

export interface Retention {
  /**
   * Removes mails whose time is over with their bodies, removes orphaned bodies, and brings records
   * that no claim can find to a person's attention. Bounded; call it on a timer of some minutes. Any
   * number of services may do so.
   * @throws RetryableError STORE_UNREACHABLE
   */
  sweep(): Promise<Swept>;
}

export interface RetentionDeps {
  db: Db;
  clock: Clock;
  log: Logger;
  version: () => RecordVersion;
}

type Mails = Collection<StoredDocument>;

const batch = 500;
const batchesPerSweep = 20;

export function createRetention(deps: RetentionDeps): Retention {
  const mails = collectionOf(deps.db, "mails");
  const removal = createBodyRemoval({ ...deps, mails });
  const sweepOrphans = createOrphanSweep({ ...deps, mails, removal });
  return {
    sweep: () =>
      reach(async () => {
        const expired = await removeExpired(deps, mails, removal);
        const orphans = await sweepOrphans();
        const unseen = await mendUnseen({ ...deps, mails });
        return { mails: expired.mails, bodies: expired.bodies + orphans, unseen };
      }),
  };
}

/**
 * Removes mails past their `expireAt`: the mail first, then its body if no sibling needs it. The
 * TTL index would do the first part alone, an hour later; what then stays is an orphan, as is the body
 * of a mail that was to go within minutes.
 */
async function removeExpired(
  deps: RetentionDeps,
  mails: Mails,
  removal: BodyRemoval,
): Promise<{ mails: number; bodies: number }> {
  const removed = { mails: 0, bodies: 0 };
  for (let round = 0; round < batchesPerSweep; round++) {
    const expired = { expireAt: { $lte: deps.clock.now() } };
    const projection = { body: 1, "enriched.body": 1, parentId: 1 };
    const found = await mails.find(expired, { projection, limit: batch }).toArray();
    if (found.length === 0) break;
    const ids = found.map(({ _id }) => _id);
    // Guarded again: a person may have taken the mail out of quarantine meanwhile.
    removed.mails += (await mails.deleteMany({ _id: { $in: ids }, ...expired })).deletedCount;
    const parents = await removeEmptySplits(mails, found);
    removed.mails += parents.length;
    removed.bodies += await removeBodies(removal, [...found, ...parents].flatMap(bodiesOf));
    if (found.length < batch) break;
  }
  return removed;
}

/** A split parent carries no recipients on; it goes with the last of its children. */
async function removeEmptySplits(
  mails: Mails,
  children: StoredDocument[],
): Promise<StoredDocument[]> {
  const parentIds = [...new Set(children.map(({ parentId }) => parentId as unknown))].filter(
    (id) => typeof id === "string",
  );
  if (parentIds.length === 0) return [];
  const left = await mails
    .find({ parentId: { $in: parentIds } }, { projection: { parentId: 1 } })
    .toArray();
  const needed = new Set(left.map(({ parentId }) => parentId as unknown));
  const empty = parentIds.filter((id) => !needed.has(id));
  const filter = { _id: { $in: empty }, state: "split" };
  const parents = await mails.find(filter, { projection: { body: 1 } }).toArray();
  await mails.deleteMany(filter);
  return parents;
}

async function removeBodies(removal: BodyRemoval, refs: StoredBody[]): Promise<number> {
  let removed = 0;
  for (const form of ["document", "gridfs"] as const) {
    const ids = refs.filter((ref) => ref.form === form).map(({ id }) => id);
    removed += await removal.remove(form, [...new Set(ids)]);
  }
  return removed;
}

/** In all forms of records. */
const storedBodySchema = bodyRefSchema.pick({ id: true, form: true });
type StoredBody = z.infer<typeof storedBodySchema>;

function bodiesOf({ body, enriched }: StoredDocument): StoredBody[] {
  const changed = (enriched as { body?: unknown } | undefined)?.body;
  return [body as unknown, changed].flatMap((ref) => {
    const parsed = storedBodySchema.safeParse(ref);
    return parsed.success ? [parsed.data] : [];
  });
}
