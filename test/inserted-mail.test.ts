import { once } from "node:events";
import { deflateSync } from "node:zlib";
import { GridFSBucket, ObjectId, type Db } from "mongodb";
import { afterAll, describe, expect, it, vi } from "vitest";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { mailIdOf } from "@rs-agent/shared/store/adoption.ts";
import { parseSources } from "@rs-agent/shared/store/source-config.ts";
import { people, samples } from "../start/samples/samples.ts";
import { textMail } from "./support/smtp-client.ts";
import { useWholeSystem } from "./support/use-system.ts";

const inbox = `inbox_${new ObjectId().toHexString()}`;
const sources = JSON.stringify([
  { name: "native", db: inbox, collection: "mail", form: "native", mode: "deliver" },
  { name: "daemon", db: inbox, form: "mongo-mail-server", mode: "deliver", mark: false },
  { name: "proxy", db: inbox, collection: "proxy", form: "mongo-mail-server", mode: "scan-only" },
]);
const [native, daemon, proxy] = parseSources(sources);

/** What mongo-mail-server writes: the mail with bare LF, compressed, in base64, in GridFS. */
async function storeFile(db: Db, content: Buffer): Promise<ObjectId> {
  const upload = new GridFSBucket(db).openUploadStream("message");
  upload.end(content);
  await once(upload, "finish");
  return upload.id;
}

function asDaemonStores(raw: Buffer): Buffer {
  const bareLf = Buffer.from(raw.toString("latin1").replaceAll("\r\n", "\n"), "latin1");
  return Buffer.from(deflateSync(bareLf).toString("base64"));
}

function daemonRecord(message: ObjectId, rcpt: string[] = [people.anna]) {
  return {
    _id: new ObjectId(),
    store_key: "key",
    sender: people.jonas,
    rcpt,
    rcpt_count: rcpt.length,
    client_address: "",
    xforward: { NAME: "mx.partner.example", ADDR: "192.0.2.25", HELO: "mx.partner.example" },
    server: "mms-1",
    received: new Date(),
    rcpt_refused: {},
    message,
  };
}

function nativeRecord(body: Buffer | ObjectId, rcptTo: string[] = [people.anna]) {
  return {
    _id: new ObjectId(),
    state: "incoming",
    smtp: {
      mailFrom: people.jonas,
      rcptTo,
      client: { address: "192.0.2.26", name: "mx.partner.example", helo: "mx.partner.example" },
    },
    body,
    receivedAt: new Date(),
  };
}

function minutesOld(minutes: number): ObjectId {
  return ObjectId.createFromTime(Date.now() / 1000 - minutes * 60);
}

const all = samples();
const sampleRaw = (name: string) => {
  const found = all.find((sample) => sample.name === name);
  if (found === undefined) throw new Error(`there is no sample ${name}`);
  return found.raw;
};

describe("mail that others put into MongoDB", () => {
  const whole = useWholeSystem({ serviceEnv: { dispatcher: { SOURCES: sources } } });
  const db = () => whole().client.db(inbox);
  const ids = (source: typeof native, records: readonly { _id: ObjectId }[]) => {
    if (source === undefined) throw new Error("there is no such source");
    return records.map(({ _id }) => mailIdOf(source, _id));
  };
  /** The record that a source's record became, once it has met its end. */
  const fate = async (mailId: string | undefined): Promise<MailRecord> => {
    const id = mailId ?? "";
    await vi.waitFor(() => whole().record(id));
    const [mail] = await whole().ended(id);
    if (mail === undefined) throw new Error(`${id} is gone`);
    return mail;
  };

  afterAll(() => db().dropDatabase());

  it("takes the same path from a native record, its body inline or in GridFS", async () => {
    const raw = textMail("inserted");
    const records = [
      nativeRecord(raw),
      nativeRecord(await storeFile(db(), raw)),
      nativeRecord(sampleRaw("eicar-attachment")),
    ];
    await db().collection<{ _id: ObjectId }>("mail").insertMany(records);
    const [inline, file, infected] = ids(native, records);
    for (const id of [inline, file]) {
      const mail = await fate(id);
      expect(mail).toMatchObject({ state: "sent", origin: { via: "source", name: "native" } });
      expect(mail.verdicts).toMatchObject({
        virus: { finding: { kind: "clean" } },
        spam: { finding: { kind: "ham" } },
      });
      const [arrived] = await whole().relayedOf(mail._id);
      expect(arrived?.bytes.subarray(-raw.length).equals(raw)).toBe(true);
      expect(arrived?.bytes.toString("latin1")).toContain("from mx.partner.example (mx.partner.ex");
    }
    expect(await fate(infected)).toMatchObject({ state: "quarantined" });
    expect(await db().collection("mail").countDocuments({ state: "adopted" })).toBe(3);
  });

  it("takes the same path from what mongo-mail-server writes, with CRLF again", async () => {
    const names = ["eight-bit", "html-inline-image", "eicar-zip", "gtube", "attachment-5mb"];
    const records = await Promise.all(
      names.map(async (name) =>
        daemonRecord(await storeFile(db(), asDaemonStores(sampleRaw(name)))),
      ),
    );
    const collection = db().collection<{ _id: ObjectId }>("message");
    await collection.insertMany(records);
    const before = await collection.find().sort({ _id: 1 }).toArray();
    const ended = await Promise.all(ids(daemon, records).map(fate));
    expect(ended.map(({ state }) => state)).toEqual([
      "sent",
      "sent",
      "quarantined",
      "quarantined",
      "sent",
    ]);
    for (const [place, name] of names.entries()) {
      const arrived = await whole().relayedOf(ended[place]?._id ?? "");
      const raw = sampleRaw(name);
      const isSent = ended[place]?.state === "sent";
      expect(arrived.map(({ bytes }) => bytes.subarray(-raw.length).equals(raw))).toEqual(
        isSent ? [true] : [],
      );
    }
    expect(await collection.find().sort({ _id: 1 }).toArray()).toEqual(before);
  });

  it("splits an inserted mail whose recipients have two policies", async () => {
    const record = daemonRecord(await storeFile(db(), asDaemonStores(sampleRaw("two-policies"))), [
      people.anna,
      people.desk,
    ]);
    await db().collection("message").insertOne(record);
    const [id = ""] = ids(daemon, [record]);
    await vi.waitFor(async () =>
      expect(await whole().record(id)).toMatchObject({ state: "split" }),
    );
    const children = await whole().ended(id);
    const outcomes = children.flatMap(({ recipients }) =>
      recipients.map(({ address, outcome }) => [address, outcome]),
    );
    expect(new Map(outcomes as [string, string][])).toEqual(
      new Map([
        [people.anna, "quarantined"],
        [people.desk, "sent"],
      ]),
    );
  });

  it("I6: finds what was inserted while the dispatcher was down", async () => {
    const { system } = whole();
    const [process] = system.processes("dispatcher");
    const records = {
      native: nativeRecord(textMail("while it was down")),
      daemon: daemonRecord(await storeFile(db(), asDaemonStores(textMail("down too")))),
    };
    system.kill("dispatcher");
    await db().collection<{ _id: ObjectId }>("mail").insertOne(records.native);
    await db().collection<{ _id: ObjectId }>("message").insertOne(records.daemon);
    expect(process?.state).not.toBe("ready");
    await system.untilReady();
    const [first] = ids(native, [records.native]);
    const [second] = ids(daemon, [records.daemon]);
    expect(await fate(first)).toMatchObject({ state: "sent" });
    expect(await fate(second)).toMatchObject({ state: "sent" });
    expect(process?.restarts).toBe(1);
  });

  it("makes a malformed record a dead letter with its reason, and the others go on", async () => {
    const good = [nativeRecord(textMail("good")), nativeRecord(textMail("good too"))];
    const bad = [
      { ...nativeRecord(Buffer.alloc(1)), smtp: { mailFrom: people.jonas, rcptTo: [] } },
      { _id: new ObjectId(), state: "incoming", hello: "world" },
      { ...nativeRecord(Buffer.alloc(1)), body: { of: "no kind" } },
    ];
    const badFiles = [
      daemonRecord(await storeFile(db(), Buffer.from("this is %% no base64"))),
      daemonRecord(await storeFile(db(), Buffer.from("bm8gemxpYg=="))),
      // Old enough for its file to be missed, and young enough to be looked at.
      { ...daemonRecord(new ObjectId()), _id: minutesOld(5) },
    ];
    const goodFile = daemonRecord(await storeFile(db(), asDaemonStores(textMail("good file"))));
    await db()
      .collection<{ _id: ObjectId }>("mail")
      .insertMany([...bad, ...good]);
    await db()
      .collection<{ _id: ObjectId }>("message")
      .insertMany([...badFiles, goodFile]);

    const dead = await Promise.all(
      [...ids(native, bad), ...ids(daemon, badFiles)].map((id) => fate(id)),
    );
    for (const mail of dead) {
      expect(mail.state).toBe("dead");
      expect(mail.reason).toMatch(/^record of source [^:]+: ./);
      expect(await whole().relayedOf(mail._id)).toEqual([]);
    }
    expect(dead.map(({ reason }) => reason?.slice(39).trim())).toEqual([
      expect.stringMatching(/rcptTo/),
      expect.stringMatching(/smtp/),
      expect.stringMatching(/body/),
      expect.stringMatching(/base64/),
      expect.stringMatching(/decompress/),
      expect.stringMatching(/not there/),
    ]);
    for (const id of [...ids(native, good), ...ids(daemon, [goodFile])]) {
      expect(await fate(id)).toMatchObject({ state: "sent" });
    }
  });

  it("never relays mail of a scan-only source, and still keeps what was found in it", async () => {
    const records = await Promise.all(
      [textMail("was delivered before"), sampleRaw("eicar-attachment")].map(async (raw) =>
        daemonRecord(await storeFile(db(), asDaemonStores(raw))),
      ),
    );
    await db().collection<{ _id: ObjectId }>("proxy").insertMany(records);
    const [clean, infected] = await Promise.all(ids(proxy, records).map(fate));
    expect(clean).toMatchObject({
      state: "discarded",
      origin: { scanOnly: true },
      verdicts: { virus: { finding: { kind: "clean" } }, spam: { finding: { kind: "ham" } } },
    });
    expect(infected).toMatchObject({ state: "quarantined" });
    expect(await whole().relayedOf(clean?._id ?? "")).toEqual([]);
  });

  it("I1: every inserted recipient has met exactly one end", async () => {
    expect(await whole().database.mails.countOutcomes()).toMatchObject({ holds: true, open: 0 });
  });
});
