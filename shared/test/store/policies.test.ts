import { MongoClient } from "mongodb";
import { describe, expect, it } from "vitest";
import { sha256Hex } from "../../src/ids.ts";
import type { PolicyDocument } from "../../src/policy/document.ts";
import { createPolicyStore } from "../../src/store/policies.ts";
import type { WriteProgress } from "../../src/store/policy-writes.ts";
import { openStore, useDatabase } from "./test-database.ts";

const database = useDatabase();

const standard: PolicyDocument = { _id: "default", scope: "default", revision: 0, rules: {} };
const domain = (name: string): PolicyDocument => ({
  _id: `domain:${name}`,
  scope: "domain",
  revision: 0,
  rules: {},
});

describe("policies", () => {
  it("are replaced whole under a new revision", async () => {
    const { policies } = database().store;
    const before = await policies.revision();
    const first = await policies.replace([standard, domain("a.example")]);
    expect(first).toBeGreaterThan(before);
    expect(await policies.all()).toEqual([
      { ...standard, revision: first },
      { ...domain("a.example"), revision: first },
    ]);
    const second = await policies.replace([domain("b.example")]);
    expect(await policies.revision()).toBe(second);
    expect(second).toBeGreaterThan(first);
    expect((await policies.all()).map(({ _id }) => _id)).toEqual(["domain:b.example"]);
  });

  it("written by two at once get two revisions, and are never a mixture", async () => {
    const { store, uri, name } = database();
    await using other = await openStore(uri, name);
    const sets = ["x", "y"].map((set) => [domain(`1.${set}`), domain(`2.${set}`)]);
    const revisions = await Promise.all([
      store.policies.replace(sets[0] ?? []),
      other.policies.replace(sets[1] ?? []),
    ]);
    expect(new Set(revisions).size).toBe(2);
    const all = await store.policies.all();
    expect(all).toHaveLength(2);
    expect(new Set(all.map(({ revision }) => revision)).size).toBe(1);
  });

  it("keep their revision if they are already stored as given", async () => {
    const { policies } = database().store;
    const headers = (...names: string[]): PolicyDocument => ({
      ...domain("h.example"),
      rules: {
        changes: { "extra-headers": { headers: Object.fromEntries(names.map((n) => [n, "x"])) } },
      },
    });
    await policies.replace([]);
    const first = await policies.replace([standard, domain("a.example"), headers("X-A", "X-B")]);
    const changed = { ...standard, rules: { order: "parallel" as const } };
    // The header fields keep the order in which they are written.
    const second = await policies.replace([
      ...[changed, domain("a.example"), domain("c.example")],
      headers("X-B", "X-A"),
    ]);
    const revisions = (await policies.all()).map(({ _id, revision }) => [_id, revision]);
    expect(revisions.toSorted()).toEqual([
      ["default", second],
      ["domain:a.example", first],
      ["domain:c.example", second],
      ["domain:h.example", second],
    ]);
  });

  it("are parsed once: what has not changed is the same object, whatever came between", async () => {
    const { store, db } = database();
    const { policies } = store;
    await policies.replace([standard, domain("a.example"), domain("b.example")]);
    const before = await policies.all();
    await policies.replace([standard, domain("b.example"), domain("c.example")]);
    // By hand, keeping its revision.
    const rules = { order: "parallel" };
    const raw = db.collection<{ _id: string }>("policies");
    await raw.updateOne({ _id: "domain:b.example" }, { $set: { rules } });
    const after = await policies.all();
    expect(after.map(({ _id }) => _id)).toEqual([
      "default",
      "domain:b.example",
      "domain:c.example",
    ]);
    expect(after[0]).toBe(before[0]);
    expect(after[1]?.rules).toEqual(rules);
  });

  it("that somebody broke in the database are named", async () => {
    const { store, db } = database();
    await store.policies.replace([standard]);
    await db.collection("policies").updateOne({ _id: "default" as never }, { $set: { rules: 5 } });
    await expect(store.policies.all()).rejects.toMatchObject({
      code: "CFG_POLICY_INVALID",
      message: expect.stringContaining("default") as string,
    });
    await store.policies.replace([standard]);
  });
});

describe("many policies", () => {
  const many = (count: number, first = 0) =>
    Array.from({ length: count }, (_, n) =>
      domain(`d${String(first + n).padStart(5, "0")}.example`),
    );
  const idsOf = (documents: readonly PolicyDocument[]) => documents.map(({ _id }) => _id);
  /** As good as all of their ids. */
  const setOf = (documents: readonly PolicyDocument[]) => sha256Hex(idsOf(documents).sort().join());

  it("are written by at most a thousand in a command, which is told as it goes", async () => {
    const { uri, name } = database();
    await using client = new MongoClient(uri, { monitorCommands: true });
    const sizes: [string, number][] = [];
    client.on("commandStarted", ({ commandName, command }) => {
      const { documents, updates, deletes } = command as Record<string, unknown[] | undefined>;
      const removed = deletes?.flatMap((one) => (one as { q: { _id: { $in: [] } } }).q._id.$in);
      const written = documents ?? updates ?? removed;
      const isOfPolicies = (command as Record<string, unknown>)[commandName] === "policies";
      if (written !== undefined && isOfPolicies) sizes.push([commandName, written.length]);
    });
    const policies = createPolicyStore(client, client.db(name));
    await policies.replace([]);
    sizes.length = 0;
    const told: WriteProgress[] = [];
    const onProgress = (progress: WriteProgress) => told.push(progress);
    await policies.replace(many(2_500), { onProgress });
    expect(told).toEqual([1_000, 2_000, 2_500].map((done) => ({ done, total: 2_500 })));
    const others = many(1_500, 1_500).map((one) => ({
      ...one,
      rules: { order: "parallel" as const },
    }));
    await policies.replace(others, { onProgress });
    expect(told.slice(3).map(({ done, total }) => [done, total])).toEqual(
      [1_000, 1_500, 2_000, 3_000].map((done) => [done, 3_000]),
    );
    expect(sizes).toEqual([
      ...[1_000, 1_000, 500].map((size) => ["insert", size]),
      ...[1_000, 500].map((size) => ["delete", size]),
      ["insert", 500],
      ["update", 1_000],
    ]);
    expect(setOf(await policies.all())).toBe(setOf(others));
  });

  it("are either all old or all new for a reader while they are replaced", async () => {
    const { uri, name, store } = database();
    await using other = await openStore(uri, name);
    const [old, next] = [many(1_500), many(2_500, 1_000)];
    await store.policies.replace(old);
    const readSet = async () => setOf(await other.policies.all());
    const reads = [await readSet()];
    const reading: Promise<string>[] = [];
    await store.policies.replace(next, { onProgress: () => reading.push(readSet()) });
    reads.push(...(await Promise.all(reading)), await readSet());
    expect(new Set(reads)).toEqual(new Set([setOf(old), setOf(next)]));
    expect([reads[0], reads.at(-1)]).toEqual([setOf(old), setOf(next)]);
  });

  it("stay as they were, revision and all, if the replacement is broken off in the middle", async () => {
    const { policies } = database().store;
    await policies.replace(many(1_500));
    const before = [await policies.version(), setOf(await policies.all())];
    const breakOff = () => {
      throw new Error("broken off");
    };
    await expect(policies.replace(many(2_500, 500), { onProgress: breakOff })).rejects.toThrow(
      "broken off",
    );
    expect([await policies.version(), setOf(await policies.all())]).toEqual(before);
    await policies.replace([]);
  });

  it("with one that is larger than a document may be are refused, naming it", async () => {
    const { policies } = database().store;
    const labels = ["a", "b", "c"].map((letter) => letter.repeat(60)).join(".");
    const domains = Array.from({ length: 90_000 }, (_, n) => `d${n}.${labels}.example`);
    const large = { _id: "tenant:large", scope: "tenant", revision: 0, tenantId: "large" } as const;
    const before = await policies.revision();
    await expect(policies.replace([standard, { ...large, domains, rules: {} }])).rejects.toThrow(
      /^policy tenant:large is larger than the 16 MB/,
    );
    expect(await policies.revision()).toBe(before);
  });
});

describe("the version of the policies", () => {
  const replaced = (names: string[]) => database().store.policies.replace(names.map(domain));
  const version = () => database().store.policies.version();
  const raw = (name: string) => database().db.collection<{ _id: string }>(name);

  it("is the same as long as nothing changes, and another after each replacement", async () => {
    await replaced(["a.example"]);
    const first = await version();
    expect(await version()).toBe(first);
    await replaced(["a.example"]);
    const second = await version();
    expect(second).not.toBe(first);
    await replaced([]);
    expect(await version()).not.toBe(second);
  });

  it("is another if an older state was put back and changed again to the same revision", async () => {
    await replaced(["a.example"]);
    const counter = await raw("controls").findOne({ _id: "policy-revision" });
    const documents = await raw("policies").find().toArray();
    await replaced(["b.example"]);
    const before = await version();
    await raw("controls").replaceOne({ _id: "policy-revision" }, counter ?? {});
    await raw("policies").deleteMany({});
    await raw("policies").insertMany(documents);
    expect(await version()).not.toBe(before);
    await replaced(["c.example"]);
    expect(await version()).not.toBe(before);
  });

  it("is another if the collection was exchanged or dropped behind our back", async () => {
    await replaced(["a.example"]);
    const old = await raw("policies").find().toArray();
    await replaced(["b.example"]);
    const before = await version();
    await raw("policies").deleteMany({});
    const emptied = await version();
    await raw("policies").insertMany(old);
    expect(new Set([before, emptied, await version()]).size).toBe(3);
    await replaced([]);
  });
});

describe("pauses", () => {
  it("last until they are resumed, and say who paused", async () => {
    const { controls } = database().store;
    expect(await controls.paused()).toEqual([]);
    await controls.pause("spam", "root");
    await controls.pause("relay", "ann");
    expect((await controls.paused()).sort()).toEqual(["relay", "spam"]);
    await controls.resume("spam");
    expect(await controls.pauses()).toMatchObject([{ step: "relay", by: "ann" }]);
    await controls.resume("relay");
    expect(await controls.paused()).toEqual([]);
  });
});

describe("actors", () => {
  it("are there while they report, and gone when they leave or fall silent", async () => {
    const { store, db } = database();
    await store.actors.report("relay-1", "relay", { sent: 3 });
    await store.actors.report("relay-2", "relay", {});
    await store.actors.report("relay-1", "relay", { sent: 4 });
    const [first, second] = await store.actors.all();
    expect([first, second].map((actor) => actor?.id).sort()).toEqual(["relay-1", "relay-2"]);
    const reports = await store.actors.all();
    expect(reports.find(({ id }) => id === "relay-1")).toMatchObject({
      service: "relay",
      snapshot: { sent: 4 },
      at: expect.any(Date) as Date,
    });
    await store.actors.leave("relay-1");
    await db
      .collection("actors")
      .updateOne({ _id: "relay-2" as never }, { $set: { at: new Date(0) } });
    expect(await store.actors.all()).toEqual([]);
  });
});
