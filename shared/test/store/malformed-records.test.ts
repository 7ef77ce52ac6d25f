import { deflateSync } from "node:zlib";
import fc from "fast-check";
import { Code, ObjectId, type Document } from "mongodb";
import { beforeEach, describe, expect, it } from "vitest";
import type { SourceConfig } from "../../src/store/source-config.ts";
import { anyField, anyValue } from "./any-value.ts";
import { decodeZlibBase64 } from "../../src/store/source-record.ts";
import { adopt, nativeRecord, rawMail, useSources } from "./source-bench.ts";
import { useDatabase } from "./test-database.ts";

const database = useDatabase();
const { newSource, putFile, mongoMailServerRecord, collectionOf, adoptAll, mailOf } =
  useSources(database);

beforeEach(async () => {
  await database().db.collection("mails").deleteMany({});
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
    expect(await adopt(database().store, source)).toMatchObject({
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
      "100,000 recipients that are not addresses",
      "native",
      () => nativeRecord({ smtp: { rcptTo: many({}) } }),
    ],
    ["no body", "native", () => nativeRecord({ body: undefined })],
    ["a body that is a list", "native", () => nativeRecord({ body: [rawMail] })],
    ["a body that is code", "native", () => nativeRecord({ body: new Code("while (true);") })],
    [
      "a body that does not exist",
      "native",
      () => nativeRecord({ _id: old(), body: new ObjectId() }),
    ],
    [
      "a body that does not exist, named by a string",
      "native",
      () => nativeRecord({ _id: old(), body: "../../etc/passwd" }),
    ],
    ["a date that is a string", "native", () => nativeRecord({ receivedAt: "yesterday" })],
    [
      "a client that is a list",
      "native",
      () => nativeRecord({ smtp: { rcptTo: ["a@b.example"], client: [] } }),
    ],
    [
      "almost 16 MB that are not a record",
      "native",
      () => ({ state: "incoming", ballast: "x".repeat(16 * 1024 * 1024 - 200) }),
    ],
    ["an id that is a document", "native", () => ({ _id: { a: deep(50) }, state: "incoming" })],
    ["nothing at all", "mongo-mail-server", () => ({})],
    [
      "lists in place of strings",
      "mongo-mail-server",
      () => ({ sender: [], rcpt: [[]], client_address: [], message: [] }),
    ],
    [
      "100,000 recipients that are not addresses",
      "mongo-mail-server",
      () => ({ rcpt: many(null), message: new ObjectId() }),
    ],
    [
      "a file that does not exist",
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

  it("of any shape is adopted or a dead letter, and stops no other", async () => {
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
  });

  it("of any shape and any `_id`, of either form, is adopted or a dead letter, and stops no other", async () => {
    const wrong = fc.record(
      {
        sender: anyField,
        rcpt: fc.oneof(anyField, fc.array(fc.oneof(anyField, fc.emailAddress()))),
        xforward: fc.oneof(anyField, fc.record({ NAME: anyField, ADDR: anyField })),
        server: anyField,
        received: anyField,
        message: anyField,
        smtp: fc.oneof(anyField, fc.record({ mailFrom: anyField, rcptTo: anyField })),
        body: anyField,
      },
      { requiredKeys: [] },
    );
    const records = fc.array(fc.tuple(anyField, wrong), { minLength: 1, maxLength: 8 });
    const form = fc.constantFrom("native", "mongo-mail-server");
    await fc.assert(
      fc.asyncProperty(form, records, async (form, changes) => {
        const source = newSource({ form });
        const state = form === "native" ? { state: "incoming" } : {};
        const bad = changes.map(([id, change], at) => ({ _id: { id, at }, ...state, ...change }));
        const good = form === "native" ? nativeRecord() : await mongoMailServerRecord(source);
        const { adopted, dead } = await adoptAll(source, [...bad, good]);
        expect(adopted + dead).toBe(bad.length + 1);
        expect((await mailOf(source, good)).state).toBe("incoming");
        expect((await database().store.mails.countOutcomes()).holds).toBe(true);
        const again = await adopt(database().store, source);
        expect(again).toEqual({ adopted: 0, dead: 0, more: false });
      }),
      { numRuns: 40 },
    );
  });

  it.each(["_id", "smtp", "body", "else"])(
    "that holds what looks like a type of the driver's is whole in its letter: %s",
    async (field) => {
      const source = newSource();
      const alike = new Map([
        ["_bsontype", "ObjectId"],
        ["seen", "x"],
      ]);
      const wrong = nativeRecord({ body: new ObjectId(), _id: old(), [field]: alike });
      const good = nativeRecord();
      expect(await adoptAll(source, [wrong, good])).toEqual({ adopted: 1, dead: 1, more: false });
      const letter = await mailOf(source, wrong);
      const kept = JSON.parse(
        (await database().store.bodies.get(letter.body)).toString(),
      ) as Document;
      expect(kept[field]).toEqual({ _bsontype: "ObjectId", seen: "x" });
    },
  );

  it("whose file is almost base64 is judged with one look at each character", async () => {
    // Tried with every possible end of its blanks, this would take months.
    const file = Buffer.concat([Buffer.alloc(16 * 1024 * 1024, " "), Buffer.from("%")]);
    expect(await decodeZlibBase64(file, 1_000)).toEqual({ reason: "its file is not base64" });
    const padded = Buffer.concat([Buffer.from("="), file]);
    expect(await decodeZlibBase64(padded, 1_000)).toEqual({ reason: "its file is not base64" });
    const encoded = Buffer.from(`${deflateSync("x").toString("base64")}\r\n \n`);
    expect(await decodeZlibBase64(encoded, 1_000)).toEqual({ bytes: Buffer.from("x") });
  });

  it("is a mail that ingest would not take: NUL, a header without end, or a trace that is a loop", async () => {
    const source = newSource();
    const bodies = ["a: b\r\n\r\n\0", "a: b\r\n".repeat(5_001)].map((text) => Buffer.from(text));
    const records = bodies.map((body) => nativeRecord({ body }));
    expect(await adoptAll(source, records)).toMatchObject({ dead: 2 });
    const reasons = await Promise.all(
      records.map(async (record) => (await mailOf(source, record)).reason),
    );
    expect(reasons).toEqual([
      expect.stringContaining("5.6.0 the mail has NUL characters"),
      expect.stringContaining("5.3.4 the header has more than 5000 fields"),
    ]);
  });

  it("is one whose file never comes; a young record is given time", async () => {
    const source = newSource();
    const old = nativeRecord({ _id: ObjectId.createFromTime(1_000), body: new ObjectId() });
    const young = nativeRecord({ body: new ObjectId() });
    expect(await adoptAll(source, [old, young])).toEqual({ adopted: 0, dead: 1, more: false });
    expect((await mailOf(source, old)).reason).toContain("GridFS file");
    const waits = await mailOf(source, young);
    expect(waits).toMatchObject({ state: "incoming", next: "adopt", recipients: [] });
    expect(waits.lease).toBeUndefined();
  });

  it("is one that lacks a chunk of its file, or is in a loop", async () => {
    const source = newSource();
    const cut = nativeRecord({ body: await putFile(source, Buffer.alloc(600_000, "a\n")) });
    await database()
      .client.db(source.db)
      .collection(`${source.bucket}.chunks`)
      .deleteOne({ files_id: cut.body as ObjectId, n: 1 });
    const loop = nativeRecord({
      body: Buffer.from("Received: from x\r\n".repeat(101) + "\r\nx\r\n"),
    });
    expect((await adoptAll(source, [cut, loop])).dead).toBe(2);
    expect((await mailOf(source, cut)).reason).toContain("incomplete");
    expect((await mailOf(source, loop)).reason).toContain("mail loop");
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
