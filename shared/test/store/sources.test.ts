import { ObjectId, type Document } from "mongodb";
import { beforeEach, describe, expect, it } from "vitest";
import { mailIdOf } from "../../src/store/adoption.ts";
import { adopting, canonicalMail, nativeRecord, rawMail, useSources } from "./source-bench.ts";
import { newMail, openStore, useDatabase } from "./test-database.ts";

const database = useDatabase();
const { newSource, putFile, mongoMailServerRecord, collectionOf, adoptAll, mailOf } =
  useSources(database);

beforeEach(async () => {
  await database().db.collection("mails").deleteMany({});
});

describe("a native record", () => {
  it("becomes a mail with its SMTP envelope and a canonical body behind our Received field", async () => {
    const source = newSource();
    const record = nativeRecord();
    expect(await adoptAll(source, [record])).toEqual({ adopted: 1, dead: 0, more: false });
    const mail = await mailOf(source, record);
    expect(mail).toMatchObject({
      state: "incoming",
      next: "plan",
      origin: { via: "source", name: source.name, recordedAt: new Date(1_000) },
      smtp: record.smtp as object,
      header: { messageId: "<m1@example.org>" },
      recipients: [{ address: "bob@example.net", outcome: "open", attempts: 0 }],
    });
    expect(mail.origin).not.toHaveProperty("scanOnly");
    const body = (await database().store.bodies.get(mail.body)).toString("latin1");
    expect(body).toMatch(
      /^Received: from helo\.example\.org \(host\.example\.org \[192\.0\.2\.7\]\)/,
    );
    expect(body).toContain(`id ${mail._id}`);
    expect(body.endsWith(`\r\n${canonicalMail}`)).toBe(true);
    const claimed = await database().store.mails.claim({
      states: ["incoming"],
      next: "plan",
      limit: 5,
      owner: "me",
      leaseMs: 1_000,
    });
    expect(claimed.map((each) => each.mail._id)).toEqual([mail._id]);
  });

  it("may keep its body in GridFS", async () => {
    const source = newSource();
    const record = nativeRecord({ body: await putFile(source, rawMail) });
    await adoptAll(source, [record]);
    const { body } = await mailOf(source, record);
    expect((await database().store.bodies.get(body)).toString()).toContain(canonicalMail);
  });

  it("is marked as adopted, and others are left alone", async () => {
    const source = newSource();
    const [record, other] = [nativeRecord(), nativeRecord({ state: "draft" })];
    await adoptAll(source, [record, other]);
    const marked = await collectionOf(source).findOne({ _id: record._id as ObjectId });
    expect(marked).toMatchObject({
      state: "adopted",
      adopted: { mailId: mailIdOf(source, record._id) },
      smtp: record.smtp as object,
    });
    const untouched = await collectionOf(source).findOne({ _id: other._id as ObjectId });
    expect(untouched?.state).toBe("draft");
  });

  it.each([["<>"], [""], [null]])("has the null sender for %j", async (mailFrom) => {
    const source = newSource();
    const smtp = { mailFrom, rcptTo: ["<bob@example.net>"], client: {} };
    const record = nativeRecord({ smtp });
    await adoptAll(source, [record]);
    const mail = await mailOf(source, record);
    expect(mail.smtp).toMatchObject({ mailFrom: "", rcptTo: ["bob@example.net"] });
    expect(mail.smtp.client).toEqual({ address: "", name: "", helo: "" });
  });
});

describe("a record of mongo-mail-server", () => {
  it("becomes a mail: base64, zlib and bare LF undone, the client from XFORWARD", async () => {
    const source = newSource({ form: "mongo-mail-server", mode: "scan-only" });
    const record = await mongoMailServerRecord(source);
    expect(await adoptAll(source, [record])).toEqual({ adopted: 1, dead: 0, more: false });
    const mail = await mailOf(source, record);
    expect(mail.smtp).toEqual({
      mailFrom: "ann@example.org",
      rcptTo: ["bob@example.net", "eve@example.net"],
      client: { address: "192.0.2.7", name: "host.example.org", helo: "helo.example.org" },
    });
    expect(mail.origin).toMatchObject({ scanOnly: true, recordedAt: new Date(2_000) });
    const body = (await database().store.bodies.get(mail.body)).toString("latin1");
    expect(body.endsWith(`\r\n${canonicalMail}`)).toBe(true);
    const marked = await collectionOf(source).findOne({ _id: record._id as ObjectId });
    expect(marked).toMatchObject({ adopted: { mailId: mail._id }, store_key: "k".repeat(64) });
    expect(marked).not.toHaveProperty("state");
  });

  it("may know nothing of its client", async () => {
    const source = newSource({ form: "mongo-mail-server" });
    const unknown = { NAME: "[UNAVAILABLE]", ADDR: "", HELO: "" };
    const records = [
      await mongoMailServerRecord(source, { client_address: "", xforward: unknown, sender: "<>" }),
      await mongoMailServerRecord(source, { xforward: {} }),
      await mongoMailServerRecord(source, { xforward: { ADDR: "IPV6:2001:db8::1" } }),
    ];
    expect((await adoptAll(source, records)).adopted).toBe(3);
    const clients = await Promise.all(
      records.map(async (record) => (await mailOf(source, record)).smtp.client.address),
    );
    expect(clients).toEqual(["", "192.0.2.9", "2001:db8::1"]);
    expect((await mailOf(source, records[0] as Document)).smtp.mailFrom).toBe("");
  });
});

describe("adoption", () => {
  it.each([true, false])(
    "by two adopters at once makes one mail a record (marked: %s)",
    async (mark) => {
      const source = newSource({ mark });
      const { store, uri, name, db } = database();
      const records = Array.from({ length: 30 }, () => nativeRecord());
      await collectionOf(source).insertMany(records);
      const other = await openStore(uri, name);
      await Promise.all([store, other, store].map((each) => each.sources.adopt(source, adopting)));
      await other.close();
      expect(await db.collection("mails").countDocuments()).toBe(30);
      // Who was too late leaves its body to the sweep: it does not know what it may remove.
      for (const record of records) await store.bodies.get((await mailOf(source, record)).body);
    },
  );

  it("that was done is not done again, even where a mark was lost", async () => {
    const source = newSource();
    const record = nativeRecord();
    await adoptAll(source, [record]);
    const mail = await mailOf(source, record);
    await collectionOf(source).updateMany(
      {},
      { $set: { state: "incoming" }, $unset: { adopted: "" } },
    );
    await database().store.sources.adopt(source, { ...adopting, limit: 10 });
    expect(await database().db.collection("mails").countDocuments()).toBe(1);
    expect((await mailOf(source, record)).body.id).toBe(mail.body.id);
    const marked = await collectionOf(source).findOne({ _id: record._id as ObjectId });
    expect(marked?.state).toBe("adopted");
  });

  it("stops at its limit and says that there is more", async () => {
    const { store } = database();
    for (const mark of [true, false]) {
      const source = newSource({ mark });
      const records = Array.from({ length: 12 }, () => nativeRecord());
      expect(await adoptAll(source, records, 5)).toEqual({ adopted: 5, dead: 0, more: true });
      const rest = adopting;
      expect(await store.sources.adopt(source, rest)).toMatchObject({ adopted: 7, more: false });
      expect(await store.sources.adopt(source, rest)).toMatchObject({ adopted: 0, more: false });
    }
  });

  it("of an unmarked source writes nothing into it and finds late records by the overlap", async () => {
    const source = newSource({ mark: false, form: "mongo-mail-server", mode: "scan-only" });
    const seconds = Math.floor(Date.now() / 1_000);
    const record = await mongoMailServerRecord(source, { _id: ObjectId.createFromTime(seconds) });
    await adoptAll(source, [record]);
    expect(await collectionOf(source).findOne({})).toEqual(record);
    expect(await collectionOf(source).indexes()).toHaveLength(1);
    const late = await mongoMailServerRecord(source, {
      _id: ObjectId.createFromTime(seconds - 60),
    });
    expect(await adoptAll(source, [late])).toMatchObject({ adopted: 1 });
    await mailOf(source, late);
  });
});

describe("the stream of a source", () => {
  it("tells of new records (I6)", async () => {
    const source = newSource();
    const abort = new AbortController();
    let hints = 0;
    const ended = database().store.sources.watch(source, () => (hints += 1), abort.signal);
    await expect
      .poll(async () => {
        await collectionOf(source).insertOne(nativeRecord());
        return hints;
      })
      .toBeGreaterThan(0);
    abort.abort();
    await ended;
  });
});

it("adopts beside mail that came otherwise", async () => {
  const source = newSource();
  await database().store.mails.insert(newMail());
  await adoptAll(source, [nativeRecord()]);
  expect(await database().store.mails.countOutcomes()).toMatchObject({ accepted: 2, open: 2 });
});
