import { MongoClient, ObjectId, type Document } from "mongodb";
import { beforeEach, describe, expect, it, onTestFinished } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { newToken } from "../../src/ids.ts";
import { createSilentLogger } from "../../src/logger.ts";
import type { AdoptionNote } from "../../src/store/adoption-notes.ts";
import { mailIdOf } from "../../src/store/adoption.ts";
import { createStores } from "../../src/store/database.ts";
import type { SourceConfig } from "../../src/store/source-config.ts";
import { adopting, nativeRecord, useSources } from "./source-bench.ts";
import { useDatabase } from "./test-database.ts";

const database = useDatabase();
const { newSource, collectionOf, adoptAll, mailOf } = useSources(database);
const never = new AbortController().signal;

beforeEach(async () => {
  await database().db.collection("mails").deleteMany({});
});

const notes = () => database().db.collection("adoptions");

/** What is left in the database of an adopter; without `leftMs` its lease has run out. */
async function noteOf(
  source: SourceConfig,
  records: Document[],
  { owner = "dispatcher-2", alone = false, leftMs = -60_000 } = {},
): Promise<ObjectId> {
  const ids = records.map(({ _id }) => _id as unknown);
  const note: AdoptionNote = {
    source: source.name,
    owner,
    ids,
    alone,
    until: new Date(Date.now() + leftMs),
  };
  const token = newToken() as unknown as ObjectId;
  await notes().insertOne({ _id: token, ...note });
  return token;
}

async function endedOver(source: SourceConfig, records: Document[], times: number): Promise<void> {
  for (let time = 1; time <= times; time++) await noteOf(source, records);
}

const adopt = (source: SourceConfig) => database().store.sources.adopt(source, adopting);
const adoptAlone = (source: SourceConfig) =>
  database().store.sources.adoptAlone(source, adopting, never);
const suspectWaits = (source: SourceConfig) => database().store.sources.suspectWaits(source);

async function insertRecords(source: SourceConfig, count: number): Promise<Document[]> {
  const records = Array.from({ length: count }, () => nativeRecord());
  await collectionOf(source).insertMany(records);
  return records;
}

describe.each([true, false])("records that an adopter has in hand (marked: %s)", (mark) => {
  it("are left to it while its lease runs, and then are others'", async () => {
    const source = newSource({ mark });
    const records = await insertRecords(source, 5);
    const token = await noteOf(source, records.slice(0, 2), { leftMs: 60_000 });
    expect(await adopt(source)).toMatchObject({ adopted: 3, more: false });
    expect(await adopt(source)).toMatchObject({ adopted: 0 });
    await notes().updateOne({ _id: token }, { $set: { until: new Date(Date.now() - 60_000) } });
    expect(await adopt(source)).toMatchObject({ adopted: 2 });
    expect(await notes().countDocuments({ source: source.name })).toBe(0);
  });

  it("are suspects after three ends: left out, then adopted one by one, and forgiven", async () => {
    const source = newSource({ mark });
    const records = await insertRecords(source, 6);
    await endedOver(source, records.slice(0, 3), 2);
    expect(await suspectWaits(source)).toBe(false);
    await endedOver(source, records.slice(1, 3), 1);
    expect(await suspectWaits(source)).toBe(true);
    expect(await adopt(source)).toMatchObject({ adopted: 4, dead: 0, more: false });
    expect(await adoptAlone(source)).toEqual({ adopted: 2, dead: 0, more: false });
    expect(await suspectWaits(source)).toBe(false);
    for (const record of records) expect((await mailOf(source, record)).state).toBe("incoming");
    expect(await notes().countDocuments({ source: source.name })).toBe(0);
  });

  it("are found again behind others of a later time", async () => {
    const source = newSource({ mark });
    const old = nativeRecord({ _id: ObjectId.createFromTime(1_000) });
    await collectionOf(source).insertOne(old);
    const token = await noteOf(source, [old], { leftMs: 60_000 });
    expect(await adoptAll(source, [nativeRecord()])).toMatchObject({ adopted: 1 });
    await notes().deleteOne({ _id: token });
    expect(await adopt(source)).toMatchObject({ adopted: 1 });
  });

  it("with which two ended alone are dead letters, unread, and no other is", async () => {
    const source = newSource({ mark });
    const [poison, innocent, once] = await insertRecords(source, 3);
    if (poison === undefined || innocent === undefined || once === undefined) throw new Error();
    await endedOver(source, [poison, innocent, once], 3);
    await noteOf(source, [poison], { alone: true });
    await noteOf(source, [poison], { alone: true, owner: "dispatcher-3" });
    await noteOf(source, [once], { alone: true });
    expect(await adoptAlone(source)).toEqual({ adopted: 2, dead: 1, more: false });
    const dead = await mailOf(source, poison);
    const reason = `record of source ${source.name}: adopters ended over it: 3 had it among others, then alone dispatcher-2, dispatcher-3`;
    expect(dead).toMatchObject({ state: "dead", reason, origin: { name: source.name } });
    const kept = (await database().store.bodies.get(dead.body)).toString();
    expect(JSON.parse(kept)).toEqual({ _id: { $oid: String(poison._id) } });
    const inSource = await collectionOf(source).findOne({ _id: poison._id as ObjectId });
    if (mark) expect(inSource).toMatchObject({ state: "adopted", adopted: { reason } });
    else expect(inSource).toEqual(poison);
    expect(await suspectWaits(source)).toBe(false);
    expect(await adopt(source)).toMatchObject({ adopted: 0, dead: 0 });
    expect((await database().store.mails.countOutcomes()).holds).toBe(true);
  });
});

describe("a suspect", () => {
  it("is no dead letter where an adopter lives after all and says so late", async () => {
    const source = newSource();
    const records = await insertRecords(source, 1);
    await endedOver(source, records, 3);
    await noteOf(source, records, { alone: true });
    const late = await noteOf(source, records, { alone: true });
    const pass = adoptAlone(source);
    await notes().deleteOne({ _id: late });
    expect(await pass).toEqual({ adopted: 0, dead: 0, more: true });
    expect(await adoptAlone(source)).toEqual({ adopted: 1, dead: 0, more: false });
  });

  it("whose file is not there yet, or that is gone, is one no more", async () => {
    const source = newSource();
    const young = nativeRecord({ body: new ObjectId() });
    await collectionOf(source).insertOne(young);
    await endedOver(source, [young, { _id: new ObjectId() }], 3);
    expect(await adoptAlone(source)).toEqual({ adopted: 0, dead: 0, more: false });
    expect(await suspectWaits(source)).toBe(false);
    expect(await database().store.mails.get(mailIdOf(source, young._id))).toBeUndefined();
  });

  it("waits for the next turn where this one is over", async () => {
    const source = newSource();
    await endedOver(source, await insertRecords(source, 3), 3);
    let left = 2;
    const goOn = () => left-- > 0;
    const { sources } = database().store;
    expect(await sources.adoptAlone(source, { ...adopting, goOn }, never)).toEqual({
      adopted: 2,
      dead: 0,
      more: true,
    });
    expect(await adoptAlone(source)).toMatchObject({ adopted: 1, more: false });
  });
});

describe("an adopter", () => {
  it("notes the records before it reads more of them than ids, some at a time, and takes that back", async () => {
    const source = newSource();
    const records = await insertRecords(source, 20);
    const { uri, name } = database();
    const client = new MongoClient(uri, { monitorCommands: true, promoteBuffers: true });
    onTestFinished(() => client.close());
    const said: string[] = [];
    client.on("commandStarted", ({ commandName, command }) => {
      const { find, projection, batchSize, updates, deletes } = command;
      if (find === source.collection && projection !== undefined) said.push("ids");
      else if (find === source.collection) said.push(`read by ${String(batchSize)}`);
      const [update] = (updates ?? []) as { u: { $set?: Partial<AdoptionNote> } }[];
      const noted = update?.u.$set?.ids;
      if (command[commandName] === "adoptions" && noted !== undefined)
        said.push(`note ${String(noted.length)}`);
      if (command[commandName] === "adoptions" && deletes !== undefined) said.push("take back");
    });
    const deps = { client, name, clock: systemClock, log: createSilentLogger(), lingerMs: 0 };
    const pass = await createStores(deps).sources.adopt(source, adopting);
    expect(pass).toEqual({ adopted: 20, dead: 0, more: false });
    // At the end of its kind of ids it looks for ids of other kinds.
    expect(said).toEqual(["ids", "note 20", "read by 16", "ids", "ids", "take back"]);
    for (const record of records) await mailOf(source, record);
  });

  it("that is told to end leaves the rest, and no note", async () => {
    const source = newSource();
    await insertRecords(source, 30);
    let left = 10;
    const goOn = () => left-- > 0;
    const pass = await database().store.sources.adopt(source, { ...adopting, goOn });
    expect(pass).toEqual({ adopted: 10, dead: 0, more: true });
    expect(await notes().countDocuments({ source: source.name })).toBe(0);
    expect(await adopt(source)).toMatchObject({ adopted: 20, more: false });
  });

  it("makes a record whose id is too long to be noted a dead letter, unread", async () => {
    const source = newSource();
    const long = nativeRecord({ _id: "x".repeat(2_000) });
    expect(await adoptAll(source, [long, nativeRecord()])).toMatchObject({ adopted: 1, dead: 1 });
    expect((await mailOf(source, long)).reason).toContain("its _id has more than 1024 bytes");
  });

  it("marks a record that is a mail already, without reading it", async () => {
    const source = newSource();
    const [record = {}] = await insertRecords(source, 1);
    await adopt(source);
    await collectionOf(source).updateOne(
      { _id: record._id as ObjectId },
      { $set: { state: "incoming", smtp: "changed" }, $unset: { adopted: "" } },
    );
    expect(await adopt(source)).toEqual({ adopted: 0, dead: 0, more: false });
    const marked = await collectionOf(source).findOne({});
    expect(marked).toMatchObject({
      state: "adopted",
      adopted: { mailId: mailIdOf(source, record._id) },
    });
  });
});
