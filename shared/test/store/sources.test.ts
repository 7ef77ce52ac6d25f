import { deflateSync } from "node:zlib";
import fc from "fast-check";
import { Code, GridFSBucket, ObjectId, type Document } from "mongodb";
import { beforeEach, describe, expect, it } from "vitest";
import { TerminalError } from "../../src/errors.ts";
import { mailIdOf } from "../../src/store/adoption.ts";
import { parseSources, type SourceConfig } from "../../src/store/source-config.ts";
import { anyValue } from "./any-value.ts";
import { newMail, openStore, useDatabase } from "./test-database.ts";

const database = useDatabase();
const hostname = "mx.example.com";
let run = 0;

/** A source with a collection and bucket of its own. */
function newSource(given: Partial<SourceConfig> = {}): SourceConfig {
  run += 1;
  return {
    name: `source-${run}`,
    db: database().name,
    collection: `inbox${run}`,
    bucket: `fs${run}`,
    form: "native",
    mode: "deliver",
    mark: true,
    outgoing: false,
    ...given,
  };
}

const rawMail = Buffer.from("Subject: hello\nMessage-ID: <m1@example.org>\n\nBody\nno end");
const canonicalMail = "Subject: hello\r\nMessage-ID: <m1@example.org>\r\n\r\nBody\r\nno end\r\n";

function nativeRecord(given: Document = {}): Document {
  return {
    state: "incoming",
    smtp: {
      mailFrom: "ann@example.org",
      rcptTo: ["bob@example.net"],
      client: { address: "192.0.2.7", name: "host.example.org", helo: "helo.example.org" },
      params: { body: "8BITMIME" },
    },
    body: rawMail,
    receivedAt: new Date(1_000),
    ...given,
  };
}

async function putFile(source: SourceConfig, bytes: Buffer): Promise<ObjectId> {
  const bucket = new GridFSBucket(database().client.db(source.db), { bucketName: source.bucket });
  const stream = bucket.openUploadStream("mail");
  await new Promise<void>((resolve, reject) => {
    stream.once("finish", resolve).once("error", reject);
    stream.end(bytes);
  });
  return stream.id;
}

/** The record that mongo-mail-server writes, with its GridFS file. */
async function mongoMailServerRecord(
  source: SourceConfig,
  given: Document = {},
): Promise<Document> {
  const encoded = Buffer.from(deflateSync(rawMail).toString("base64"), "latin1");
  return {
    store_key: "k".repeat(64),
    sender: "ann@example.org",
    rcpt: ["bob@example.net", "eve@example.net"],
    rcpt_count: 2,
    client_address: "192.0.2.9",
    xforward: { NAME: "host.example.org", ADDR: "192.0.2.7", HELO: "helo.example.org" },
    server: "127.0.0.1",
    received: new Date(2_000),
    rcpt_refused: {},
    message: await putFile(source, encoded),
    ...given,
  };
}

const collectionOf = ({ db, collection }: SourceConfig) =>
  database().client.db(db).collection(collection);

async function adoptAll(source: SourceConfig, records: Document[], limit = 100) {
  await collectionOf(source).insertMany(records);
  return database().store.sources.adopt(source, { limit, hostname, maxMailBytes: 50_000_000 });
}

async function mailOf(source: SourceConfig, record: Document) {
  const mail = await database().store.mails.get(mailIdOf(source, record._id));
  if (mail === undefined) throw new Error("not adopted");
  return mail;
}

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
      const bodiesBefore = await db.collection("bodies").countDocuments();
      const other = await openStore(uri, name);
      await Promise.all(
        [store, other, store].map((each) =>
          each.sources.adopt(source, { limit: 100, hostname, maxMailBytes: 50_000_000 }),
        ),
      );
      await other.close();
      expect(await db.collection("mails").countDocuments()).toBe(30);
      expect((await db.collection("bodies").countDocuments()) - bodiesBefore).toBe(30);
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
    await database().store.sources.adopt(source, { limit: 10, hostname, maxMailBytes: 50_000_000 });
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
      const rest = { limit: 100, hostname, maxMailBytes: 50_000_000 };
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

describe("a malformed source record", () => {
  it("becomes a dead letter with its reason that holds the record, and stops no other", async () => {
    const source = newSource({ form: "mongo-mail-server" });
    const wrong: Document[] = [
      await mongoMailServerRecord(source, { rcpt: [] }),
      await mongoMailServerRecord(source, { rcpt: "bob@example.net" }),
      await mongoMailServerRecord(source, { sender: 5 }),
      await mongoMailServerRecord(source, { rcpt: ["bob@example.net>\r\nRCPT TO:<eve@x>"] }),
      await mongoMailServerRecord(source, { message: { not: "an id" } }),
      await mongoMailServerRecord(source, { message: await putFile(source, Buffer.from("%%%")) }),
      await mongoMailServerRecord(source, {
        message: await putFile(source, Buffer.from("aGVsbG8=")),
      }),
      { _id: "alone" },
    ];
    const good = await mongoMailServerRecord(source);
    expect(await adoptAll(source, [...wrong, good])).toEqual({ adopted: 1, dead: 8, more: false });
    for (const record of wrong) {
      const mail = await mailOf(source, record);
      expect(mail.state).toBe("dead");
      expect(mail.reason).toMatch(/^record of source [^:]+: ./);
      const kept = (await database().store.bodies.get(mail.body)).toString();
      const id = record._id instanceof ObjectId ? record._id.toHexString() : "alone";
      expect(kept).toContain(id);
      for (const { outcome } of mail.recipients) expect(outcome).toBe("dead");
    }
    expect((await database().store.mails.countOutcomes()).holds).toBe(true);
    const marked = await collectionOf(source).findOne({ _id: "alone" as never });
    expect(marked).toMatchObject({
      adopted: { reason: expect.stringContaining("rcpt") as string },
    });
    expect(
      await database().store.sources.adopt(source, {
        limit: 10,
        hostname,
        maxMailBytes: 50_000_000,
      }),
    ).toMatchObject({
      dead: 0,
    });
  });

  const deep = (levels: number): unknown => (levels === 0 ? 1 : { a: deep(levels - 1) });
  const many = (value: unknown) => Array.from({ length: 100_000 }, () => value);
  const old = () => ObjectId.createFromTime(1_000 + Math.floor(Math.random() * 1e9));
  it.each<[string, SourceConfig["form"], () => Document]>([
    ["no SMTP envelope", "native", () => nativeRecord({ smtp: undefined })],
    ["an SMTP envelope nested 90 deep", "native", () => nativeRecord({ smtp: deep(90) })],
    ["100,000 recipients", "native", () => nativeRecord({ smtp: { rcptTo: many("a@b.example") } })],
    [
      "100,000 recipients that are none",
      "native",
      () => nativeRecord({ smtp: { rcptTo: many({}) } }),
    ],
    ["no body", "native", () => nativeRecord({ body: undefined })],
    ["a body that is a list", "native", () => nativeRecord({ body: [rawMail] })],
    ["a body that is code", "native", () => nativeRecord({ body: new Code("while (true);") })],
    ["a body that is nowhere", "native", () => nativeRecord({ _id: old(), body: new ObjectId() })],
    [
      "a body that is nowhere under a text",
      "native",
      () => nativeRecord({ _id: old(), body: "../../etc/passwd" }),
    ],
    ["a date that is a text", "native", () => nativeRecord({ receivedAt: "yesterday" })],
    [
      "a client that is a list",
      "native",
      () => nativeRecord({ smtp: { rcptTo: ["a@b.example"], client: [] } }),
    ],
    [
      "almost 16 MB that are no record",
      "native",
      () => ({ state: "incoming", ballast: "x".repeat(16 * 1024 * 1024 - 200) }),
    ],
    ["an id that is a document", "native", () => ({ _id: { a: deep(50) }, state: "incoming" })],
    ["nothing at all", "mongo-mail-server", () => ({})],
    [
      "lists for texts",
      "mongo-mail-server",
      () => ({ sender: [], rcpt: [[]], client_address: [], message: [] }),
    ],
    [
      "100,000 recipients that are none",
      "mongo-mail-server",
      () => ({ rcpt: many(null), message: new ObjectId() }),
    ],
    [
      "a file that is nowhere",
      "mongo-mail-server",
      () => ({ _id: old(), sender: "", rcpt: ["a@b.example"], message: new ObjectId() }),
    ],
    [
      "an xforward nested 90 deep",
      "mongo-mail-server",
      () => ({ rcpt: ["a@b.example"], xforward: { NAME: deep(90) }, message: new ObjectId() }),
    ],
  ])("with %s (%s) is a dead letter, marked, and stops no other", async (_, form, make) => {
    const source = newSource({ form });
    const good = async () =>
      form === "native" ? nativeRecord() : await mongoMailServerRecord(source);
    const wrong: Document = Object.fromEntries<unknown>(
      Object.entries(make()).filter(([, value]) => value !== undefined),
    );
    const [before, after] = [await good(), await good()];
    expect(await adoptAll(source, [before, wrong, after])).toMatchObject({ adopted: 2, dead: 1 });
    const letter = await mailOf(source, wrong);
    expect(letter).toMatchObject({ state: "dead" });
    expect(letter.reason).toMatch(/^record of source [^:]+: ./);
    for (const record of [before, after]) {
      expect((await mailOf(source, record)).state).toBe("incoming");
    }
    expect(await adoptAll(source, [await good()])).toMatchObject({ adopted: 1, dead: 0 });
  });

  it(
    "of any shape is adopted or a dead letter, and stops no other",
    { timeout: 60_000 },
    async () => {
      const wrong = fc.record(
        { smtp: anyValue, body: anyValue, receivedAt: anyValue, mode: anyValue },
        { requiredKeys: [] },
      );
      await fc.assert(
        fc.asyncProperty(fc.array(wrong, { minLength: 1, maxLength: 8 }), async (changes) => {
          const source = newSource();
          const records = changes.map((change) => nativeRecord({ _id: old(), ...change }));
          const good = nativeRecord();
          const { adopted, dead } = await adoptAll(source, [...records, good]);
          expect(adopted + dead).toBe(records.length + 1);
          expect((await mailOf(source, good)).state).toBe("incoming");
          expect((await database().store.mails.countOutcomes()).holds).toBe(true);
          expect(await adoptAll(source, [nativeRecord()])).toMatchObject({ adopted: 1, dead: 0 });
        }),
        { numRuns: 25 },
      );
    },
  );

  it("is one whose file never comes; a young record is given time", async () => {
    const source = newSource();
    const old = nativeRecord({ _id: ObjectId.createFromTime(1_000), body: new ObjectId() });
    const young = nativeRecord({ body: new ObjectId() });
    expect(await adoptAll(source, [old, young])).toEqual({ adopted: 0, dead: 1, more: false });
    expect((await mailOf(source, old)).reason).toContain("GridFS file");
    expect(await database().store.mails.get(mailIdOf(source, young._id))).toBeUndefined();
  });

  it("is one that lacks a chunk of its file, or goes round in circles", async () => {
    const source = newSource();
    const cut = nativeRecord({ body: await putFile(source, Buffer.alloc(600_000, "a\n")) });
    await database()
      .client.db(source.db)
      .collection(`${source.bucket}.chunks`)
      .deleteOne({ files_id: cut.body as ObjectId, n: 1 });
    const loop = nativeRecord({
      body: Buffer.from("Received: from x\r\n".repeat(51) + "\r\nx\r\n"),
    });
    expect((await adoptAll(source, [cut, loop])).dead).toBe(2);
    expect((await mailOf(source, cut)).reason).toContain("incomplete");
    expect((await mailOf(source, loop)).reason).toContain("circles");
  });

  it("is a zip bomb, and it is not unpacked", async () => {
    const source = newSource({ form: "mongo-mail-server" });
    const bomb = deflateSync(Buffer.alloc(60 * 1024 * 1024)).toString("base64");
    const record = await mongoMailServerRecord(source, {
      message: await putFile(source, Buffer.from(bomb)),
    });
    expect((await adoptAll(source, [record])).dead).toBe(1);
    expect((await mailOf(source, record)).reason).toContain("does not decompress");
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

describe("the setting SOURCES", () => {
  it("has mongo-mail-server's own names as defaults", () => {
    const [source] = parseSources('[{"name":"mms","form":"mongo-mail-server","mode":"scan-only"}]');
    expect(source).toEqual({
      name: "mms",
      form: "mongo-mail-server",
      mode: "scan-only",
      db: "message",
      collection: "message",
      bucket: "fs",
      mark: true,
      outgoing: false,
    });
  });

  it.each([
    ["no JSON"],
    ['[{"name":"x","form":"native","mode":"deliver"}]'],
    ['[{"name":"x","form":"other","mode":"deliver","db":"d","collection":"c"}]'],
    ['[{"name":"a b","form":"native","mode":"deliver","db":"d","collection":"c"}]'],
    [JSON.stringify([0, 1].map(() => ({ name: "x", form: "mongo-mail-server", mode: "deliver" })))],
  ])("is refused where it is wrong: %s", (json) => {
    expect(() => parseSources(json)).toThrow(TerminalError);
  });
});

it("adopts beside mail that came otherwise", async () => {
  const source = newSource();
  await database().store.mails.insert(newMail());
  await adoptAll(source, [nativeRecord()]);
  expect(await database().store.mails.countOutcomes()).toMatchObject({ accepted: 2, open: 2 });
});
