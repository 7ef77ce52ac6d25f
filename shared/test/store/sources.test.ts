import { ObjectId, UUID, type Document } from "mongodb";
import { beforeEach, describe, expect, it } from "vitest";
import { formerMailIdOf, mailIdOf } from "../../src/store/adoption.ts";
import type { SourceConfig } from "../../src/store/source-config.ts";
import {
  adopt,
  policyBook,
  canonicalMail,
  nativeRecord,
  rawMail,
  useSources,
} from "./source-bench.ts";
import { openStore, useDatabase } from "./test-database.ts";
import { newMail } from "../../../test/support/new-mail.ts";

const database = useDatabase();
const { newSource, putFile, mongoMailServerRecord, collectionOf, adoptAll, mailOf } =
  useSources(database);

beforeEach(async () => {
  await database().db.collection("mails").deleteMany({});
});

describe("a native record", () => {
  it("becomes a mail with its SMTP envelope and a canonical body after our Received field", async () => {
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
    const source = newSource({
      form: "mongo-mail-server",
      mode: "scan-only",
      xforwardPeers: ["127.0.0.0/8"],
    });
    const record = await mongoMailServerRecord(source);
    expect(await adoptAll(source, [record])).toEqual({ adopted: 1, dead: 0, more: false });
    const mail = await mailOf(source, record);
    expect(mail.smtp).toEqual({
      mailFrom: "ann@example.org",
      rcptTo: ["bob@example.net", "eve@example.net"],
      client: { address: "192.0.2.7", name: "host.example.org", helo: "helo.example.org" },
      params: { body: "7BIT" },
    });
    expect(mail.origin).toMatchObject({ scanOnly: true, recordedAt: new Date(2_000) });
    const body = (await database().store.bodies.get(mail.body)).toString("latin1");
    expect(body.endsWith(`\r\n${canonicalMail}`)).toBe(true);
    const marked = await collectionOf(source).findOne({ _id: record._id as ObjectId });
    expect(marked).toMatchObject({ adopted: { mailId: mail._id }, store_key: "k".repeat(64) });
    expect(marked).not.toHaveProperty("state");
  });

  it("may know nothing about its client", async () => {
    const source = newSource({ form: "mongo-mail-server", xforwardPeers: ["127.0.0.1"] });
    const unknown = { NAME: "[UNAVAILABLE]", ADDR: "[UNAVAILABLE]", HELO: "" };
    const records = [
      await mongoMailServerRecord(source, { xforward: unknown, sender: "<>" }),
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

describe("what a record says about itself", () => {
  const said = (client: string) => ({ NAME: "", ADDR: client, HELO: "" });
  const stranger = "203.0.113.9";
  const ours = "192.0.2.7";
  const outgoing = { networks: ["192.0.2.0/24"] };
  const daemon = { form: "mongo-mail-server" } as const;
  const anywhere = ["eve@example.net", "ann@elsewhere.example"];

  it.each<[string, Partial<SourceConfig>, Document, string]>([
    ["XFORWARD of a peer that is not listed", outgoing, { xforward: said(ours) }, "127.0.0.1"],
    ["the same address once more", outgoing, { xforward: {}, client_address: ours }, "127.0.0.1"],
    [
      "XFORWARD of a peer other than the one listed",
      { ...outgoing, xforwardPeers: ["127.0.0.9"] },
      { xforward: said(ours) },
      "127.0.0.1",
    ],
    [
      "a listed peer's client, in a network of the tenant that the source does not name",
      { xforwardPeers: ["127.0.0.1"] },
      { xforward: said(ours) },
      ours,
    ],
    [
      "a listed peer's client in no network",
      { ...outgoing, xforwardPeers: ["127.0.0.1"] },
      { xforward: said(stranger) },
      stranger,
    ],
    ["a peer that is not an address", outgoing, { server: "mms-1", xforward: said(ours) }, ""],
  ])("makes no outgoing mail: %s", async (_, settings, given, client) => {
    const source = newSource({ ...daemon, ...settings });
    const record = await mongoMailServerRecord(source, { ...given, rcpt: anywhere });
    await adoptAll(source, [record]);
    const mail = await mailOf(source, record);
    expect(mail.origin).toMatchObject({ incoming: true });
    expect(mail.origin.outgoing).toBeUndefined();
    expect(mail.smtp.client.address).toBe(client);
    expect(mail.smtp.rcptTo).toEqual(["eve@example.net"]);
    expect(policyBook.groups(mail)[0]?.plan.direction).toBe("incoming");
  });

  it("makes outgoing mail of its tenant if the source lists the peer and the network", async () => {
    const source = newSource({ ...daemon, ...outgoing, xforwardPeers: ["127.0.0.1"] });
    const record = await mongoMailServerRecord(source, { xforward: said(ours), rcpt: anywhere });
    expect(await adoptAll(source, [record])).toMatchObject({ adopted: 1, dead: 0 });
    const mail = await mailOf(source, record);
    expect(mail.smtp.rcptTo).toEqual(anywhere);
    expect(policyBook.groups(mail)[0]?.plan).toMatchObject({
      direction: "outgoing",
      tenantId: "acme",
    });
  });

  it("does not matter to a source that is a tenant's: all of its mail is that tenant's, outgoing", async () => {
    const source = newSource({ outgoing: true, tenant: "acme" });
    const record = nativeRecord({ smtp: { mailFrom: "shop@example.net", rcptTo: anywhere } });
    await adoptAll(source, [record]);
    const mail = await mailOf(source, record);
    expect(mail.origin).toMatchObject({ outgoing: true, tenantId: "acme" });
    expect(policyBook.groups(mail)[0]?.plan).toMatchObject({
      direction: "outgoing",
      tenantId: "acme",
    });
  });

  it("makes no outgoing mail in a native record either, except within the networks of its source", async () => {
    const [without, within] = [newSource(), newSource({ networks: [`${ours}/32`] })];
    const client = { address: ours };
    const smtp = { mailFrom: "shop@example.net", rcptTo: anywhere, client };
    const [incoming, sent] = [nativeRecord({ smtp }), nativeRecord({ smtp })];
    await adoptAll(without, [incoming]);
    await adoptAll(within, [sent]);
    expect((await mailOf(without, incoming)).smtp.rcptTo).toEqual(["eve@example.net"]);
    expect((await mailOf(within, sent)).smtp.rcptTo).toEqual(anywhere);
  });
});

describe("recipients of a record", () => {
  const smtp = (rcptTo: string[]) => ({ mailFrom: "ann@example.org", rcptTo });

  it("I1: are judged as at ingest; those that are refused end in a letter of their own", async () => {
    const source = newSource();
    const refused = [
      "ann@elsewhere.example",
      "ann%elsewhere.example@example.net",
      "müller@example.net",
      "nobody",
    ];
    const taken = ['"odd user"@EXAMPLE.net', "postmaster", "bob@example.net", "bob@example.net"];
    const record = nativeRecord({ smtp: smtp([...refused, ...taken]) });
    expect(await adoptAll(source, [record])).toEqual({ adopted: 1, dead: 0, more: false });
    const mail = await mailOf(source, record);
    expect(mail.smtp.rcptTo).toEqual(['"odd user"@example.net', "postmaster", "bob@example.net"]);
    expect(mail.recipients.map(({ address }) => address)).toEqual(mail.smtp.rcptTo);
    const letter = await database().store.mails.get(`${mail._id}-refused`);
    expect(letter).toMatchObject({ state: "dead", origin: { via: "source", name: source.name } });
    expect(letter?.recipients.map(({ address, outcome }) => [address, outcome])).toEqual(
      refused.map((address) => [address, "dead"]),
    );
    expect(letter?.reason).toContain("ann@elsewhere.example: 5.7.1 relaying denied");
    expect(letter?.history).toMatchObject([{ event: "dead", cause: "refused" }]);
    expect(letter?.reason).toContain("müller@example.net: 5.6.7");
    expect(letter?.reason).toContain("nobody: 5.1.3");
    const kept = letter && (await database().store.bodies.get(letter.body)).toString();
    expect(kept).toContain((record._id as ObjectId).toHexString());
    expect(await database().store.mails.countOutcomes()).toMatchObject({
      accepted: 7,
      dead: 4,
      open: 3,
      holds: true,
    });
  });

  it("that are all refused make it a dead letter, which goes after 30 days", async () => {
    const source = newSource();
    const record = nativeRecord({ smtp: smtp(["ann@elsewhere.example"]) });
    expect(await adoptAll(source, [record])).toMatchObject({ adopted: 0, dead: 1 });
    const letter = await mailOf(source, record);
    expect(letter.reason).toContain("5.7.1 relaying denied");
    const days = (Number(letter.expireAt) - Number(letter.finalAt)) / 86_400_000;
    expect(days).toBe(30);
  });

  it("of mail that is only scanned are not judged: nothing is sent to them", async () => {
    const source = newSource({ mode: "scan-only" });
    const record = nativeRecord({ smtp: smtp(["ann@elsewhere.example"]) });
    expect(await adoptAll(source, [record])).toMatchObject({ adopted: 1, dead: 0 });
  });
});

describe("the ids of records", () => {
  const hex = "0123456789abcdef01234567";
  /** One for each kind of `_id` that others could take for one of these. */
  const lookAlikes = () => [
    new ObjectId(hex),
    hex,
    5,
    "5",
    { a: 5 },
    '{"a":5}',
    new Date(5),
    '{"$date":"1970-01-01T00:00:00.005Z"}',
    new Map([["_bsontype", "ObjectId"]]),
    new Map([
      ["_bsontype", "ObjectId"],
      ["id", hex],
    ]),
    null,
    "null",
    true,
    "",
    new UUID("00112233-4455-4677-8899-aabbccddeeff"),
  ];

  it.each([true, false])("tell apart what MongoDB tells apart (marked: %s)", async (mark) => {
    const source = newSource({ mark });
    const records = lookAlikes().map((_id) => nativeRecord({ _id }));
    expect(await adoptAll(source, records)).toEqual({
      adopted: records.length,
      dead: 0,
      more: false,
    });
    expect(await database().db.collection("mails").countDocuments()).toBe(records.length);
    const again = await adopt(database().store, source);
    expect(again).toEqual({ adopted: 0, dead: 0, more: false });
    const left = await collectionOf(source).countDocuments({ state: "incoming" });
    expect(left).toBe(mark ? 0 : records.length);
  });

  it("of several types are all found, however many there are of the first", async () => {
    const source = newSource({ mark: false });
    const strings = Array.from({ length: 150 }, (_, at) => nativeRecord({ _id: `s${at}` }));
    const other = nativeRecord();
    await collectionOf(source).insertMany([...strings, other]);
    expect(await adopt(database().store, source, 1_000)).toMatchObject({ adopted: 151 });
    await mailOf(source, other);
  });

  it("that were adopted under an older form of id are not adopted again", async () => {
    const before = (id: unknown) => formerMailIdOf(source, id)?.mailId ?? mailIdOf(source, id);
    const source = newSource({ mark: false });
    for (const id of [hex, 5, { a: 5 }])
      await database().store.mails.insert(newMail({ _id: before(id) }));
    const records = [hex, 5, { a: 5 }].map((_id) => nativeRecord({ _id }));
    expect(await adoptAll(source, records)).toEqual({ adopted: 0, dead: 0, more: false });
  });

  it("of which two had one id before: the one that was lost is adopted now", async () => {
    const source = newSource();
    const [kept, lost] = [new ObjectId(hex), hex].map((_id) => nativeRecord({ _id }));
    if (kept === undefined || lost === undefined) throw new Error("no records");
    await adoptAll(source, [kept]);
    expect(await adoptAll(source, [lost])).toMatchObject({ adopted: 1, dead: 0 });
    expect((await mailOf(source, lost))._id).not.toBe((await mailOf(source, kept))._id);
  });
});

describe("adoption", () => {
  it.each([true, false])(
    "by two adopters at once makes one mail per record (marked: %s)",
    async (mark) => {
      const source = newSource({ mark });
      const { store, uri, name, db } = database();
      const records = Array.from({ length: 30 }, () => nativeRecord());
      await collectionOf(source).insertMany(records);
      const other = await openStore(uri, name);
      await Promise.all([store, other, store].map((each) => adopt(each, source)));
      await other.close();
      expect(await db.collection("mails").countDocuments()).toBe(30);
      // The adopter that was too late leaves its body to the sweep: it does not know what it may
      // remove.
      for (const record of records) await store.bodies.get((await mailOf(source, record)).body);
    },
  );

  it("that was done is not done again, even if a mark was lost", async () => {
    const source = newSource();
    const record = nativeRecord();
    await adoptAll(source, [record]);
    const mail = await mailOf(source, record);
    await collectionOf(source).updateMany(
      {},
      { $set: { state: "incoming" }, $unset: { adopted: "" } },
    );
    await adopt(database().store, source);
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
      expect(await adopt(store, source)).toMatchObject({ adopted: 7, more: false });
      expect(await adopt(store, source)).toMatchObject({ adopted: 0, more: false });
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

it("marks mail with 8-bit bytes as such, as ingest does", async () => {
  const source = newSource();
  const smtp = { mailFrom: "", rcptTo: ["bob@example.net"] };
  const record = nativeRecord({ smtp, body: Buffer.from("Subject: x\r\n\r\nä\r\n", "latin1") });
  await adoptAll(source, [record]);
  expect((await mailOf(source, record)).smtp.params).toEqual({ body: "8BITMIME" });
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

it("adopts next to mail that came in another way", async () => {
  const source = newSource();
  await database().store.mails.insert(newMail());
  await adoptAll(source, [nativeRecord()]);
  expect(await database().store.mails.countOutcomes()).toMatchObject({ accepted: 2, open: 2 });
});
