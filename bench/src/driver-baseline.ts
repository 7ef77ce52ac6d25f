import { randomBytes } from "node:crypto";
import { MongoClient } from "mongodb";

const batch = 100;
const writers = 16;
const durable = { writeConcern: { w: "majority", journal: true } } as const;

/**
 * What the database takes for the same mails from a bare driver: body and mail inserted one by one,
 * 16 at once, then two batched claims and three guarded bulks of 100, all majority and journaled.
 * In mails per second.
 */
export async function driverBaseline(uri: string, raw: Buffer, mails: number): Promise<number> {
  await using client = new MongoClient(uri);
  const db = client.db(`bench_driver_${randomBytes(4).toString("hex")}`);
  const records = db.collection<{ _id: string; state: string; next: string; dueAt: Date }>("m");
  const bodies = db.collection<{ _id: string; raw: Buffer }>("b");
  await records.createIndex({ state: 1, next: 1, dueAt: 1 });
  const ids = Array.from({ length: mails }, () => randomBytes(10).toString("hex"));
  const begin = performance.now();
  const queue = [...ids];
  const insert = async () => {
    for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
      await bodies.insertOne({ _id: id, raw }, durable);
      await records.insertOne(
        { _id: id, state: "incoming", next: "plan", dueAt: new Date() },
        durable,
      );
    }
  };
  await Promise.all(Array.from({ length: writers }, insert));
  for (let from = 0; from < mails; from += batch) {
    const part = ids.slice(from, from + batch);
    for (const token of ["first", "second"]) {
      await records
        .find({ state: "incoming", next: "plan" }, { projection: { _id: 1 }, limit: batch })
        .toArray();
      await records.updateMany({ _id: { $in: part } }, { $set: { token } }, durable);
      await records.find({ _id: { $in: part }, token }).toArray();
    }
    for (const step of [1, 2, 3]) {
      const updates = part.map((_id) => ({
        updateOne: { filter: { _id, token: "second" }, update: { $set: { step } } },
      }));
      await records.bulkWrite(updates, { ordered: false, ...durable });
    }
  }
  const seconds = (performance.now() - begin) / 1000;
  await db.dropDatabase();
  return mails / seconds;
}
