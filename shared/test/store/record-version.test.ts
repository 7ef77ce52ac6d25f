import { expect, it } from "vitest";
import { recordVersion } from "../../src/mail/record.ts";
import { agreedVersion, NewerRecords } from "../../src/store/record-version.ts";
import { createMemoryLog } from "../bus/pool-and-worker.ts";
import { documentOf } from "../../src/store/mail-document.ts";
import { useDatabase } from "./test-database.ts";
import { plan } from "../life/mails.ts";
import { newMail } from "../../../test/support/new-mail.ts";

const database = useDatabase();
const newer = recordVersion + 1;

/** As a later release writes it: with the fields that every version has, and others. */
function newerMail(next: string, parts: object = {}) {
  return { ...documentOf(newMail({ next })), v: newer, plan: "5f0c", rev: 3, ...parts };
}

it("a record of a newer version is claimed by nobody, stays as it is and is counted; others go on", async () => {
  const { store, db } = database();
  const mail = newMail({ next: "v1" });
  const left = newerMail("v1", { dueAt: new Date(0) });
  await store.mails.insert(mail);
  await db.collection("mails").insertOne(left as never);
  const claim = { states: ["incoming"] as const, next: "v1", limit: 1, owner: "d", leaseMs: 9_000 };
  const claimed = await store.mails.claim(claim);
  expect(claimed.map(({ mail: { _id } }) => _id)).toEqual([mail._id]);
  expect(await store.mails.claim(claim)).toEqual([]);
  expect(store.mails.newerRecords).toBe(1);
  expect(await db.collection("mails").findOne({ _id: left._id as never })).toEqual(left);
});

it("many of them do not hide what we know", async () => {
  const { store, db } = database();
  const old = Array.from({ length: 40 }, () => newerMail("v2", { dueAt: new Date(0) }));
  await db.collection("mails").insertMany(old as never);
  const mail = newMail({ next: "v2" });
  await store.mails.insert(mail);
  const claim = { states: ["incoming"] as const, next: "v2", limit: 2, owner: "d", leaseMs: 9_000 };
  const claimed = await store.mails.claim(claim);
  expect(claimed.map(({ mail: { _id } }) => _id)).toEqual([mail._id]);
});

it("a suspect of a newer version is not taken alone either", async () => {
  const { store, db } = database();
  const suspect = newerMail("v3", { dueAt: new Date(0), unended: 5 });
  await db.collection("mails").insertOne(suspect as never);
  const claim = { states: ["incoming"] as const, next: ["v3"], owner: "d", leaseMs: 9_000 };
  expect(await store.mails.suspectWaits(claim)).toBe(false);
  const taking = { ...claim, token: "ab".repeat(16), without: [] };
  expect(await store.mails.claimSuspect(taking)).toBeUndefined();
});

it("the sweep repairs none of them, whatever they lack, and removes mail whose time is over in any version", async () => {
  const { store, db } = database();
  const mails = db.collection("mails");
  const odd = newerMail("v4", { state: "parked" });
  const over = newerMail("v4", { state: "sent", expireAt: new Date(0) });
  await mails.insertMany([odd, over] as never);
  await store.retention.sweep();
  expect(await mails.findOne({ _id: odd._id as never })).toEqual(odd);
  expect(await mails.findOne({ _id: over._id as never })).toBeNull();
});

it("a person is told that a newer release is needed", async () => {
  const { store, db } = database();
  const mail = newerMail("v5");
  await db.collection("mails").insertOne(mail as never);
  await expect(store.mails.get(mail._id)).rejects.toMatchObject({
    code: "STORE_RECORD_NEWER",
    message: expect.stringContaining(`version ${String(newer)}`) as string,
  });
  await expect(store.mails.find({ to: "nobody@example.net", limit: 5 })).resolves.toEqual([]);
});

it("the version that is written is one that every service reads", async () => {
  const { store } = database();
  expect(agreedVersion([], 3)).toBe(3);
  expect(agreedVersion([{ records: 3 }, { records: 2 }], 3)).toBe(2);
  // The first release does not say which version it reads.
  expect(agreedVersion([{ records: 3 }, { records: undefined }], 3)).toBe(1);
  await store.actors.report("dispatcher-1", "dispatcher", {});
  expect(agreedVersion(await store.actors.all(), recordVersion)).toBe(recordVersion);
});

it("new records are of the old version while a service that runs reads no newer one", async () => {
  const { store, db } = database();
  const stored = async () => {
    const mail = newMail({ next: "v6", plan });
    await store.mails.insert(mail);
    const document = await db.collection("mails").findOne({ _id: mail._id as never });
    return [document?.["v"], document?.["plan"] !== undefined] as unknown[];
  };
  const actors = db.collection("actors");
  const old = { _id: "relay-0" as never, service: "relay", at: store.clock.now(), snapshot: {} };
  await actors.insertOne(old);
  await store.agreement.refresh();
  expect(await stored()).toEqual([1, true]);
  await store.actors.leave("relay-0");
  await store.agreement.refresh();
  expect(await stored()).toEqual([2, false]);
  const [first, second] = await store.mails.claim({
    ...{ states: ["incoming"], next: "v6", limit: 2, owner: "d", leaseMs: 9_000 },
  });
  for (const one of [first, second]) {
    if (one === undefined) throw new Error("nothing was claimed");
    expect(one.mail.plan?.relay).toEqual(plan.relay);
    await store.mails.write(one.holding, { set: { plan, state: "processing" } });
    expect((await store.mails.get(one.mail._id))?.v).toBe(one.mail.v);
  }
});

it("one warning per minute tells of them, and what was met a minute ago no longer counts", () => {
  const { log, lines } = createMemoryLog();
  let nowMs = 0;
  const records = new NewerRecords(log, () => nowMs);
  for (let id = 0; id < 3; id++) records.meet({ _id: `m${String(id)}`, v: newer });
  records.meet({ _id: "m0", v: newer });
  expect(records.count).toBe(3);
  expect(lines).toHaveLength(1);
  nowMs = 59_000;
  records.meet({ _id: "m1", v: newer });
  nowMs = 60_001;
  expect(records.count).toBe(1);
  records.meet({ _id: "m1", v: newer });
  expect(lines.map(({ msg }) => msg)).toEqual(
    Array(2).fill("mail is left to services of a newer release"),
  );
});
