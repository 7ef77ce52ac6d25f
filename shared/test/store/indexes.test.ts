import { MongoClient, ObjectId, type Document } from "mongodb";
import { expect, it } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { createSilentLogger } from "../../src/logger.ts";
import { createStores } from "../../src/store/database.ts";
import { createIndexes, indexes } from "../../src/store/indexes.ts";
import type { SourceConfig } from "../../src/store/source-config.ts";
import { adopt, rules, taking } from "./source-bench.ts";
import { useDatabase } from "./test-database.ts";
import { newMail } from "../../../test/support/new-mail.ts";
import { Holding } from "../../src/store/holding.ts";

const database = useDatabase();

/** The queries in a command, as finds or aggregates that can be explained. */
function queriesIn(name: string, command: Document): Document[] {
  const collection: unknown = command[name];
  const find = (filter: unknown) => ({ find: collection, filter });
  if (name === "find") {
    const parts = ["filter", "sort", "limit", "projection"].filter((part) => part in command);
    return [
      { find: collection, ...Object.fromEntries(parts.map((part) => [part, command[part]])) },
    ];
  }
  if (name === "distinct" || name === "findAndModify") return [find(command.query)];
  if (name === "aggregate") {
    const { pipeline } = command as { pipeline: Document[] };
    if (pipeline[0] !== undefined && "$changeStream" in pipeline[0]) return [];
    return [{ aggregate: collection, pipeline, cursor: {} }];
  }
  const parts = (name === "update" ? command.updates : command.deletes) as Document[] | undefined;
  return (parts ?? []).map(({ q }) => find(q));
}

/** Before its first upload, the driver's GridFS checks whether the bucket has any file at all. */
function isDriversOwn({ find, filter, limit }: Document): boolean {
  return find === "bodies.files" && limit === 1 && Object.keys(filter as object).length === 0;
}

function stagesOf(plan: unknown, into: string[] = []): string[] {
  if (Array.isArray(plan)) for (const part of plan) stagesOf(part, into);
  else if (typeof plan === "object" && plan !== null) {
    for (const [key, value] of Object.entries(plan)) {
      if (key === "rejectedPlans") continue;
      if (key === "stage" && typeof value === "string") into.push(value);
      stagesOf(value, into);
    }
  }
  return into;
}

/**
 * SecantusDB's Python server uses only single-field indexes, so its plans say nothing about ours.
 */
async function plansAsMongoDb(): Promise<boolean> {
  const query = { find: "mails", filter: { _id: "x", state: "incoming" } };
  return !stagesOf(await database().db.command({ explain: query })).includes("COLLSCAN");
}

it("answers every query of the store from an index", async (context) => {
  if (!(await plansAsMongoDb())) context.skip("this server's planner is not MongoDB's");
  const { uri, name, db } = database();
  const client = new MongoClient(uri, {
    monitorCommands: true,
    promoteBuffers: true,
    ignoreUndefined: true,
  });
  const asked = new Map<string, { db: string; query: Document }>();
  const writers = new Set([
    ...["find", "distinct", "aggregate", "update", "delete", "findAndModify"],
  ]);
  client.on("commandStarted", ({ commandName, command, databaseName }) => {
    if (!writers.has(commandName)) return;
    for (const query of queriesIn(commandName, command)) {
      const shape = JSON.stringify(query, (_, value: unknown) =>
        typeof value === "string" || typeof value === "object" ? value : "",
      );
      asked.set(`${databaseName} ${shape}`, { db: databaseName, query });
    }
  });
  const log = createSilentLogger();
  const stores = createStores({
    client,
    name,
    clock: systemClock,
    log,
    lingerMs: 1,
  });
  const source: SourceConfig = {
    name: "inbox",
    db: name,
    collection: "inbox",
    bucket: "fs",
    form: "native",
    mode: "deliver",
    mark: true,
    outgoing: false,
    networks: [],
    xforwardPeers: [],
  };
  await exercise(stores, source, db);
  await client.close();

  const collscans: unknown[] = [];
  for (const { db: databaseName, query } of asked.values()) {
    const explained = await database()
      .client.db(databaseName)
      .command({ explain: query, verbosity: "queryPlanner" });
    const stages = stagesOf(explained);
    if (isDriversOwn(query)) continue;
    if (stages.length === 0 || stages.includes("COLLSCAN")) collscans.push({ query, stages });
  }
  expect(asked.size).toBeGreaterThan(40);
  expect(collscans).toEqual([]);
});

/** Calls every method of every store, with something to find. */
async function exercise(
  {
    mails,
    bodies,
    policies,
    sources,
    actors,
    controls,
    retention,
    turns,
  }: ReturnType<typeof createStores>,
  source: SourceConfig,
  db: ReturnType<typeof database>["db"],
): Promise<void> {
  const past = new Date(Date.now() - 100_000_000);
  const body = await bodies.put(Buffer.from("small\r\n"));
  const large = await bodies.put(Buffer.alloc(9_000_000));
  await bodies.get(body);
  await bodies.get(large);
  const parentId = "parent";
  await mails.insert(newMail({ _id: parentId, state: "split", next: undefined, body }));
  await mails.insert(newMail({ body }));
  await mails.insert(newMail({ body: large }));
  await mails.insert(newMail({ state: "sent", expireAt: past, parentId, body }));
  await mails.insert(newMail({ state: "ready", next: "hop" }));
  await mails.insert(newMail({ _id: "asked", next: "later" }));
  await mails.insert(newMail({ _id: "asked", next: "later" }));
  await db
    .collection("mails")
    .insertOne({ _id: "odd" as never, state: "incoming", next: "plan", dueAt: past });
  await db.collection("mails").insertOne({ _id: "unseen" as never, state: "strange" });
  const states = ["incoming", "processing"] as const;
  const claimed = await mails.claim({
    states,
    next: "plan",
    limit: 9,
    owner: "me",
    leaseMs: 9_000,
  });
  await mails.claim({ states: ["ready"], next: "hop", limit: 9, owner: "me", leaseMs: 9_000 });
  const named = { states, next: "later", limit: 2, owner: "me", leaseMs: 9_000 };
  await mails.claim({ ...named, only: ["none"] });
  await mails.claim({ ...named, only: ["none", "nobody"] });
  await mails.dueFor({ states, next: ["plan", "virus"] });
  const held = claimed.map(({ holding }) => holding);
  await mails.renew([...held, { mailId: "none", token: "0" }], 9_000);
  const suspects = { states, next: ["plan"], owner: "me", leaseMs: 9_000 };
  await mails.insert(newMail({ next: "plan", unended: 3 }));
  await mails.suspectWaits(suspects);
  await mails.claimSuspect({ ...suspects, token: "1".repeat(32), without: [] });
  await mails.livedThrough({ token: "1".repeat(32), owner: "me" });
  for (const holding of held) await mails.write(holding, { releaseLease: true });
  await mails.write(new Holding(newMail(), "0"), { set: { reason: "stale" } });
  await mails.writeAs("asked", { states: ["incoming"], unleased: true }, { set: { reason: "x" } });
  await mails.get("asked");
  await mails.routesWaiting("ready");
  await mails.routesWaiting("relaying");
  await mails.waiting();
  await mails.countStates();
  await turns.take("retention", "me", 1_000);
  await mails.backlog(10);
  await mails.isBehind({ next: ["plan", "virus"], lateMs: 1_000, mails: 9 });
  await mails.due(10);
  await mails.children(parentId);
  await mails.countOutcomes();
  const limit = 10;
  for (const query of [
    { to: "bob@example.net" },
    { from: "alice@example.org", since: past },
    { messageId: "<1@example.org>" },
    { to: "bob@example.net", from: "alice@example.org", state: "sent" as const },
    { state: "dead" as const },
    { since: past, until: new Date() },
    { unreported: true as const },
    {},
  ])
    await mails.find({ ...query, limit });
  await policies.all();
  await policies.replace([]);
  await policies.revision();
  await policies.version();
  await actors.report("a", "test", {});
  await actors.all();
  await actors.leave("a");
  await controls.pause("spam", "me");
  await controls.paused();
  await controls.resume("spam");
  const record = {
    state: "incoming",
    smtp: { mailFrom: "", rcptTo: ["bob@example.net"], client: {} },
    body: Buffer.from("Subject: x\n\nhello\n"),
  };
  for (const mark of [true, false]) {
    await db
      .collection("inbox")
      .insertMany([{ ...record }, { ...record, body: new ObjectId(), receivedAt: new Date() }]);
    const its = { ...source, mark, name: `inbox-${mark}` };
    await adopt({ mails, sources }, its);
    await db.collection("inbox").insertMany([{ ...record }, { ...record }]);
    const { stubs } = await sources.take(its, taking);
    const [read, gone] = stubs.map(({ mail }) => mail);
    if (read === undefined || gone === undefined) throw new Error("not taken");
    await sources.read(its, read, rules);
    await sources.unread(gone, "it kills", "services-ended");
    await sources.mark(its, read);
  }
  await db.collection("bodies").insertOne({ _id: "orphan" as never, createdAt: past });
  await db.collection("bodies.files").insertOne({ _id: "orphan" as never, uploadDate: past });
  await db
    .collection("bodies.chunks")
    .insertOne({ _id: ObjectId.createFromTime(1), files_id: "cut off", n: 0 });
  await retention.sweep();
}

it("creates its indexes again and again without complaint", async () => {
  const { db } = database();
  await createIndexes(db);
  await createIndexes(db);
  for (const { collection, key } of indexes) {
    const there = await db.collection(collection).indexes();
    expect(there.map((index) => JSON.stringify(index.key))).toContain(JSON.stringify(key));
  }
});
