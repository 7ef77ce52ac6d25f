import { MongoClient, type Document, type ObjectId } from "mongodb";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { newToken } from "../../src/ids.ts";
import { createSilentLogger } from "../../src/logger.ts";
import { deadTakenUp } from "../../src/life/interventions.ts";
import { adoptStep, isStub } from "../../src/mail/stub.ts";
import { mailIdOf } from "../../src/store/adoption.ts";
import { createStores } from "../../src/store/database.ts";
import { whyPoison } from "../../src/store/poison.ts";
import type { SourceConfig } from "../../src/store/source-config.ts";
import { adopt as adoptBy, nativeRecord, readStub, taking, useSources } from "./source-bench.ts";
import { useDatabase } from "./test-database.ts";

const database = useDatabase();
const { newSource, collectionOf, adoptAll, mailOf } = useSources(database);

beforeEach(async () => {
  await database().db.collection("mails").deleteMany({});
});

const mails = () => database().store.mails;
const sources = () => database().store.sources;
const adopt = (source: SourceConfig) => adoptBy(database().store, source);
const by = { owner: "dispatcher-2", leaseMs: 10_000 };
const stubsDue = { states: ["incoming"], next: adoptStep, ...by } as const;

async function insertRecords(source: SourceConfig, count: number): Promise<Document[]> {
  const records = Array.from({ length: count }, () => nativeRecord());
  await collectionOf(source).insertMany(records);
  return records;
}

/**
 * As if the lease of these stubs had run out, after this many holders that nobody heard from again.
 */
async function leave(source: SourceConfig, records: Document[], unended = 1): Promise<void> {
  const past = new Date(Date.now() - 60_000);
  await database()
    .db.collection<{ _id: string }>("mails")
    .updateMany(
      { _id: { $in: records.map(({ _id }) => mailIdOf(source, _id)) } },
      { $set: { dueAt: past, "lease.until": past, unended } },
    );
}

const claimSuspect = (token: string) =>
  mails().claimSuspect({ ...stubsDue, next: [adoptStep], token, without: [] });

describe.each([true, false])("a record that was taken on (marked: %s)", (mark) => {
  it("is its holder's while its lease runs, then any dispatcher's, and becomes one mail", async () => {
    const source = newSource({ mark });
    const records = await insertRecords(source, 5);
    const { stubs, more } = await sources().take(source, { ...taking, limit: 2 });
    expect([stubs.length, more]).toEqual([2, true]);
    expect(await adopt(source)).toMatchObject({ adopted: 3, more: false });
    expect(await adopt(source)).toMatchObject({ adopted: 0 });
    expect(await mails().claim({ ...stubsDue, limit: 9 })).toEqual([]);
    await leave(source, records.slice(0, 2));
    const claimed = await mails().claim({ ...stubsDue, limit: 9 });
    expect(claimed.map(({ mail }) => mail.unended)).toEqual([2, 2]);
    for (const stub of claimed)
      expect(await readStub(database().store, source, stub)).toBe("adopted");
    for (const stub of stubs) expect(await readStub(database().store, source, stub)).toBe("stale");
    for (const record of records)
      expect(await mailOf(source, record)).toMatchObject({ state: "incoming", next: "plan" });
    expect(await mails().countOutcomes()).toMatchObject({ accepted: 5, open: 5, holds: true });
  });

  it("does not count before it is read, and leaves no mark in the source", async () => {
    const source = newSource({ mark });
    const [record] = await insertRecords(source, 1);
    await sources().take(source, taking);
    expect(await mailOf(source, record ?? {})).toMatchObject({
      state: "incoming",
      next: "adopt",
      recipients: [],
      origin: { via: "source", name: source.name },
    });
    await leave(source, [record ?? {}]);
    expect(await mails().countOutcomes()).toMatchObject({ accepted: 0, open: 0, holds: true });
    expect(await mails().backlog(10)).toEqual({ count: 0, untakenSince: undefined });
    expect(await mails().isBehind({ next: ["plan"], lateMs: 1_000, mails: 0 })).toBe(false);
    await adopt(source);
    expect(await collectionOf(source).findOne({})).toEqual(record);
  });

  it("is a suspect after three ends: left out, then claimed alone, and forgiven", async () => {
    const source = newSource({ mark });
    const [record = {}] = await insertRecords(source, 1);
    await sources().take(source, taking);
    await leave(source, [record], 3);
    expect(await mails().claim({ ...stubsDue, limit: 9 })).toEqual([]);
    expect(await mails().suspectWaits({ ...stubsDue, next: [adoptStep] })).toBe(true);
    const token = newToken();
    const suspect = await claimSuspect(token);
    if (suspect === undefined) throw new Error("not claimed");
    expect(whyPoison(suspect.mail, token)).toBeUndefined();
    expect(await readStub(database().store, source, suspect)).toBe("adopted");
    const mail = await mailOf(source, record);
    expect(mail).toMatchObject({ state: "incoming", next: "plan" });
    expect(mail).not.toHaveProperty("unended");
    expect(mail).not.toHaveProperty("alone");
  });

  it("is a dead letter, unread, if two died over it alone", async () => {
    const source = newSource({ mark });
    const [poison = {}] = await insertRecords(source, 1);
    await sources().take(source, taking);
    for (const token of [newToken(), newToken()]) {
      await leave(source, [poison], 3);
      await claimSuspect(token);
    }
    await leave(source, [poison], 5);
    const token = newToken();
    const suspect = await claimSuspect(token);
    const why = suspect === undefined ? undefined : whyPoison(suspect.mail, token);
    if (suspect === undefined || why === undefined) throw new Error("no poison");
    const { mail, holding } = suspect;
    await mails().write(holding, await sources().unread(mail, why, "services-ended"));
    const reason = `record of source ${source.name}: services ended over it: 3 had it among others, then alone dispatcher-2, dispatcher-2`;
    const dead = await mailOf(source, poison);
    expect(dead).toMatchObject({ state: "dead", reason, origin: { name: source.name } });
    const kept = (await database().store.bodies.get(dead.body)).toString();
    expect(JSON.parse(kept)).toEqual({ _id: { $oid: String(poison._id) } });
    expect(await adopt(source)).toMatchObject({ adopted: 0, dead: 0 });
    const inSource = await collectionOf(source).findOne({ _id: poison._id as ObjectId });
    if (mark) expect(inSource).toMatchObject({ state: "adopted", adopted: { reason } });
    else expect(inSource).toEqual(poison);
    expect((await mails().countOutcomes()).holds).toBe(true);
    const guard = { states: ["dead"], unleased: true } as const;
    const again = deadTakenUp(dead, { now: new Date(), by: "ann" });
    expect(await mails().writeAs(dead._id, guard, again)).toBe("written");
    expect(isStub(await mailOf(source, poison))).toBe(true);
    const [stub] = await mails().claim({ ...stubsDue, limit: 9 });
    if (stub === undefined) throw new Error("not claimed");
    expect(await readStub(database().store, source, stub)).toBe("adopted");
    const back = await mailOf(source, poison);
    expect(back).toMatchObject({ state: "incoming", next: "plan" });
    expect(back.history.map(({ event }) => event)).toEqual([
      "dead",
      "dead letter tried again",
      "adopted",
    ]);
    for (const left of ["reason", "finalAt", "expireAt"]) expect(back).not.toHaveProperty(left);
    expect(await mails().countOutcomes()).toMatchObject({ accepted: 1, open: 1, holds: true });
  });

  it.each<[string, (source: SourceConfig) => Promise<unknown>]>([
    ["that is gone", (source) => collectionOf(source).deleteMany({})],
    [
      "that its owner took back",
      (source) => collectionOf(source).updateMany({}, { $set: { state: "draft" } }),
    ],
  ])("and %s before it is read ends as discarded", async (_, change) => {
    const source = newSource({ mark });
    const [record = {}] = await insertRecords(source, 1);
    const { stubs } = await sources().take(source, taking);
    await change(source);
    const [stub] = stubs;
    if (stub === undefined) throw new Error("not taken");
    expect(await readStub(database().store, source, stub)).toBe("gone");
    const mail = await mailOf(source, record);
    expect(mail).toMatchObject({ state: "discarded", reason: "record gone", recipients: [] });
    expect(Number(mail.expireAt) - Number(mail.finalAt)).toBe(30 * 86_400_000);
    expect(await mails().countOutcomes()).toMatchObject({ accepted: 0, holds: true });
    const again = { $set: { ...record, state: "incoming" } };
    await collectionOf(source).updateOne({ _id: record._id as ObjectId }, again, { upsert: true });
    expect(await adopt(source)).toMatchObject({ adopted: 0, dead: 0 });
    const [back] = await mails().claim({ ...stubsDue, limit: 1 });
    if (back === undefined) throw new Error("not back");
    expect(await readStub(database().store, source, back)).toBe("adopted");
    expect(await mailOf(source, record)).toMatchObject({ state: "incoming", next: "plan" });
    expect(await mails().countOutcomes()).toMatchObject({ accepted: 1, open: 1, holds: true });
  });
});

describe("a service that takes records on", () => {
  it("reads only their ids before it has their stubs, which are its claim", async () => {
    const source = newSource();
    const records = await insertRecords(source, 20);
    const { uri, name } = database();
    const client = new MongoClient(uri, { monitorCommands: true, promoteBuffers: true });
    onTestFinished(() => client.close());
    const said: string[] = [];
    client.on("commandStarted", ({ commandName, command }) => {
      const { find, projection, insert, documents } = command;
      if (find === source.collection) said.push(projection === undefined ? "record" : "ids");
      if (insert === "mails") said.push(`${String((documents as unknown[]).length)} stubs`);
      if (commandName === "update") said.push("update");
    });
    const deps = { client, name, clock: systemClock, log: createSilentLogger(), lingerMs: 0 };
    const stores = createStores(deps);
    const { stubs } = await stores.sources.take(source, taking);
    // At the end of its kind of ids it looks for ids of other kinds.
    expect(said).toEqual(["ids", "20 stubs", "ids", "ids"]);
    expect(stubs.map(({ mail }) => [mail.claims, mail.unended, mail.lease?.owner])).toEqual(
      records.map(() => [1, 1, taking.owner]),
    );
    said.length = 0;
    for (const stub of stubs.slice(0, 3)) await readStub(stores, source, stub);
    const each = ["record", "update", "update"];
    expect(said).toEqual([...each, ...each, ...each]);
  });

  it("makes a record whose id is too long for a stub a dead letter, unread", async () => {
    const source = newSource();
    const long = nativeRecord({ _id: "x".repeat(2_000) });
    expect(await adoptAll(source, [long, nativeRecord()])).toMatchObject({ adopted: 1, dead: 1 });
    expect((await mailOf(source, long)).reason).toContain("its _id has more than 1024 bytes");
  });

  it("marks a record that is a mail already, without reading it, but none that is a stub", async () => {
    const source = newSource();
    const [record = {}] = await insertRecords(source, 1);
    await sources().take(source, taking);
    await adopt(source);
    expect(await collectionOf(source).findOne({})).toEqual(record);
    await leave(source, [record]);
    const [stub] = await mails().claim({ ...stubsDue, limit: 1 });
    if (stub === undefined) throw new Error("not claimed");
    await readStub(database().store, source, stub);
    await collectionOf(source).updateOne(
      { _id: record._id as ObjectId },
      { $set: { state: "incoming", smtp: "changed" }, $unset: { adopted: "" } },
    );
    expect(await adopt(source)).toEqual({ adopted: 0, dead: 0, more: false });
    expect(await collectionOf(source).findOne({})).toMatchObject({
      state: "adopted",
      adopted: { mailId: mailIdOf(source, record._id) },
    });
  });

  it("reads a record that an older service has marked for the stub that it found", async () => {
    const source = newSource();
    const [record = {}] = await insertRecords(source, 1);
    const { stubs } = await sources().take(source, taking);
    const mailId = mailIdOf(source, record._id);
    await collectionOf(source).updateOne({}, { $set: { state: "adopted", adopted: { mailId } } });
    const [stub] = stubs;
    if (stub === undefined) throw new Error("not taken");
    expect(await readStub(database().store, source, stub)).toBe("adopted");
  });

  it("can be found by what the record says once it is read", async () => {
    const source = newSource();
    await adoptAll(source, [nativeRecord()]);
    expect(await mails().find({ to: "bob@example.net", limit: 9 })).toHaveLength(1);
    expect(await mails().find({ messageId: "m1@example.org", limit: 9 })).toHaveLength(1);
  });
});
