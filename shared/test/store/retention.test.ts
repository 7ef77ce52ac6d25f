import { ObjectId } from "mongodb";
import { beforeEach, describe, expect, it } from "vitest";
import type { BodyRef } from "../../src/mail/record.ts";
import { systemClock } from "../../src/clock.ts";
import { createSilentLogger } from "../../src/logger.ts";
import { collectionOf } from "../../src/store/connection.ts";
import { createBodyRemoval, underWayMs } from "../../src/store/body-removal.ts";
import { createOrphanSweep, orphanAgeMs } from "../../src/store/orphans.ts";
import { useDatabase } from "./test-database.ts";
import { newMail } from "../../../test/support/new-mail.ts";

const database = useDatabase();
const twoChunks = Buffer.alloc(9_000_000);
const past = new Date(Date.now() - 1_000);

beforeEach(async () => {
  const { db } = database();
  for (const name of ["mails", "bodies", "bodies.files", "bodies.chunks"])
    await db.collection(name).deleteMany({});
});

const isThere = (ref: BodyRef) =>
  database()
    .store.bodies.get(ref)
    .then(
      () => true,
      () => false,
    );

/** Makes bodies look as if they had been stored before the age of orphans, or this long ago. */
async function age(refs: BodyRef[], byMs = orphanAgeMs): Promise<void> {
  const { db } = database();
  const old = new Date(Date.now() - byMs - 60_000);
  for (const { id } of refs) {
    await db.collection("bodies").updateOne({ _id: id as never }, { $set: { createdAt: old } });
    await db
      .collection("bodies.files")
      .updateOne({ _id: id as never }, { $set: { uploadDate: old } });
  }
}

describe("retention", () => {
  it("removes a mail whose time is over with both its bodies, and no other", async () => {
    const { mails, bodies, retention } = database().store;
    const [raw, changed, kept] = await Promise.all(
      ["raw", "changed", "kept"].map((text) => bodies.put(Buffer.from(text))),
    );
    if (!raw || !changed || !kept) throw new Error("no bodies");
    await age([raw, changed, kept], underWayMs);
    const enriched = {
      restOffset: 0,
      body: changed,
      sha256: changed.sha256,
      size: changed.size,
      settingsHash: "x",
      notes: [],
      verdictsHash: "x",
      worker: "w",
      queueMs: 0,
      workMs: 0,
      at: past,
    };
    const over = newMail({ state: "sent", body: raw, enriched, expireAt: past });
    const later = newMail({ state: "sent", body: kept, expireAt: new Date(Date.now() + 60_000) });
    await Promise.all([mails.insert(over), mails.insert(later)]);
    expect(await retention.sweep()).toEqual({ mails: 1, bodies: 2, unseen: 0 });
    expect(await mails.get(over._id)).toBeUndefined();
    expect(await mails.get(later._id)).toBeDefined();
    expect([await isThere(raw), await isThere(changed), await isThere(kept)]).toEqual([
      false,
      false,
      true,
    ]);
  });

  it("keeps a body until its last sibling is gone, and then the split parent goes too", async () => {
    const { store, db } = database();
    const { mails, bodies, retention } = store;
    const body = await bodies.put(Buffer.alloc(9_000_000));
    await age([body], underWayMs);
    const parent = newMail({ state: "split", body });
    const first = newMail({ state: "sent", body, parentId: parent._id, expireAt: past });
    const second = newMail({ state: "quarantined", body, parentId: parent._id });
    await Promise.all([mails.insert(parent), mails.insert(first), mails.insert(second)]);
    expect(await retention.sweep()).toEqual({ mails: 1, bodies: 0, unseen: 0 });
    expect(await isThere(body)).toBe(true);
    expect(await mails.get(parent._id)).toBeDefined();
    await db
      .collection("mails")
      .updateOne({ _id: second._id as never }, { $set: { expireAt: past } });
    expect(await retention.sweep()).toEqual({ mails: 2, bodies: 1, unseen: 0 });
    expect(await isThere(body)).toBe(false);
    expect(await db.collection("bodies.chunks").countDocuments()).toBe(0);
    expect(await db.collection("mails").countDocuments()).toBe(0);
  });

  it("I1: leaves a body that is younger than writes under way to the sweep of orphans", async () => {
    const { mails, bodies, retention } = database().store;
    const [small, large] = [await bodies.put(Buffer.alloc(10)), await bodies.put(twoChunks)];
    for (const body of [small, large])
      await mails.insert(newMail({ state: "sent", body, expireAt: past }));
    expect(await retention.sweep()).toEqual({ mails: 2, bodies: 0, unseen: 0 });
    expect([await isThere(small), await isThere(large)]).toEqual([true, true]);
    await age([small, large]);
    await retention.sweep();
    expect((await retention.sweep()).bodies).toBe(2);
  });
});

describe("the orphan sweep", () => {
  it("removes old bodies without a mail in either form, and nothing else", async () => {
    const { mails, bodies, retention } = database().store;
    const put = (size: number) => bodies.put(Buffer.alloc(size));
    const [orphan, largeOrphan] = [await put(10), await put(9_000_000)];
    const [owned, largeOwned] = [await put(11), await put(9_000_001)];
    const [young, largeYoung] = [await put(12), await put(9_000_002)];
    await mails.insert(newMail({ body: owned }));
    await mails.insert(newMail({ body: largeOwned }));
    await age([orphan, largeOrphan, owned, largeOwned]);
    expect(await retention.sweep()).toEqual({ mails: 0, bodies: 0, unseen: 0 });
    expect(await retention.sweep()).toEqual({ mails: 0, bodies: 2, unseen: 0 });
    const all = [orphan, largeOrphan, owned, largeOwned, young, largeYoung];
    expect(await Promise.all(all.map(isThere))).toEqual([false, false, true, true, true, true]);
  });

  it("I1: keeps what it had found once a mail points to it after all", async () => {
    const { mails, bodies, retention } = database().store;
    const refs = [await bodies.put(Buffer.alloc(10)), await bodies.put(twoChunks)];
    await age(refs);
    await retention.sweep();
    for (const body of refs) await mails.insert(newMail({ body }));
    expect((await retention.sweep()).bodies).toBe(0);
    expect(await Promise.all(refs.map(isThere))).toEqual([true, true]);
  });

  it("walks on from page to page, past many bodies of one instant, and begins again", async () => {
    const { db, client, name } = database();
    const old = (index: number) => new Date(Date.now() - orphanAgeMs - 1_000_000 + (index >> 5));
    const owned = Array.from({ length: 150 }, (_, index) => ({
      _id: `owned-${index}` as never,
      createdAt: old(index),
    }));
    await db.collection("bodies").insertMany(owned);
    await db.collection("mails").insertMany(owned.map(({ _id }) => ({ body: { id: _id } })));
    const orphan = { _id: "orphan" as never, createdAt: old(160) };
    await db.collection("bodies").insertOne(orphan);
    const ours = client.db(name);
    const deps = { db: ours, clock: systemClock, mails: collectionOf(ours, "mails") };
    const removal = createBodyRemoval(deps);
    const sizes = { page: 10, pages: 2 };
    const sweep = createOrphanSweep({ ...deps, removal, log: createSilentLogger() }, sizes);
    const sweepsUntilRemoved = async () => {
      for (let sweeps = 1; sweeps < 30; sweeps++) if ((await sweep()) > 0) return sweeps;
      return Infinity;
    };
    expect(await sweepsUntilRemoved()).toBeGreaterThan(4);
    await db.collection("bodies").insertOne({ ...orphan, createdAt: old(0) });
    expect(await sweepsUntilRemoved()).toBeLessThan(20);
    expect(await db.collection("bodies").countDocuments()).toBe(150);
  });

  it("removes old chunks whose upload was cut off", async () => {
    const { db, store } = database();
    const chunks = db.collection("bodies.chunks");
    const live = await store.bodies.put(Buffer.alloc(9_000_000));
    await chunks.insertMany([
      { _id: ObjectId.createFromTime(1_000), files_id: "cut", n: 0 },
      { _id: ObjectId.createFromTime(1_001), files_id: "cut", n: 1 },
      { _id: new ObjectId(), files_id: "under way", n: 0 },
    ]);
    await store.retention.sweep();
    expect((await store.retention.sweep()).bodies).toBe(1);
    expect(await chunks.countDocuments({ files_id: "cut" })).toBe(0);
    expect(await chunks.countDocuments({ files_id: "under way" })).toBe(1);
    expect(await isThere(live)).toBe(true);
  });
});
