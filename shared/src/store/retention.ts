import type { Collection, Db } from "mongodb";
import type { Clock } from "../clock.ts";
import type { Logger } from "../logger.ts";
import { bodyRefSchema, type BodyRef } from "../mail/record.ts";
import type { BodyStore } from "./bodies.ts";
import { collectionOf, reach, type StoredDocument } from "./connection.ts";
import { createOrphanSweep } from "./orphans.ts";
import { mendUnseen } from "./unseen-mails.ts";

/** What one sweep removed or mended. */
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
   * that no claim can find before a person's eyes. Bounded; call it on a timer of some minutes. Any
   * number of services may do so.
   * @throws RetryableError STORE_UNREACHABLE
   */
  sweep(): Promise<Swept>;
}

export interface RetentionDeps {
  db: Db;
  clock: Clock;
  log: Logger;
  bodies: Pick<BodyStore, "delete">;
}

type Mails = Collection<StoredDocument>;

const batch = 500;
const batchesPerSweep = 20;

export function createRetention(deps: RetentionDeps): Retention {
  const mails = collectionOf(deps.db, "mails");
  const sweepOrphans = createOrphanSweep({ ...deps, mails });
  return {
    sweep: () =>
      reach(async () => {
        const expired = await removeExpired(deps, mails);
        const orphans = await sweepOrphans();
        const unseen = await mendUnseen({ ...deps, mails });
        return { mails: expired.mails, bodies: expired.bodies + orphans, unseen };
      }),
  };
}

/**
 * Removes mails behind their `expireAt`: the mail first, then its body if no sibling needs it. The
 * TTL index would do the first part alone, an hour later; what then stays is an orphan.
 */
async function removeExpired(
  deps: RetentionDeps,
  mails: Mails,
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
    removed.bodies += await removeUnneeded(deps, mails, [...found, ...parents].flatMap(bodiesOf));
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

async function removeUnneeded(
  { bodies }: RetentionDeps,
  mails: Mails,
  refs: BodyRef[],
): Promise<number> {
  const byId = new Map(refs.map((ref) => [ref.id, ref]));
  const needed = await neededBodies(mails, [...byId.keys()]);
  const unneeded = [...byId.values()].filter(({ id }) => !needed.has(id));
  for (const ref of unneeded) await bodies.delete(ref);
  return unneeded.length;
}

/** Those of the body ids to which a mail points, as its own or its changed body. */
export async function neededBodies(mails: Mails, ids: readonly string[]): Promise<Set<string>> {
  const among = { $in: [...ids] };
  const [own, changed] = await Promise.all([
    mails.find({ "body.id": among }, { projection: { "body.id": 1 } }).toArray(),
    mails.find({ "enriched.body.id": among }, { projection: { "enriched.body.id": 1 } }).toArray(),
  ]);
  const needed = new Set<string>();
  for (const { body } of own) needed.add((body as BodyRef).id);
  for (const { enriched } of changed) needed.add((enriched as { body: BodyRef }).body.id);
  return needed;
}

function bodiesOf({ body, enriched }: StoredDocument): BodyRef[] {
  const changed = (enriched as { body?: unknown } | undefined)?.body;
  return [body as unknown, changed].flatMap((ref) => {
    const parsed = bodyRefSchema.safeParse(ref);
    return parsed.success ? [parsed.data] : [];
  });
}
