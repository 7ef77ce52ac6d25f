import { describe, expect, it } from "vitest";
import type { PolicyDocument } from "../../src/policy/document.ts";
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

  it("stay beside the new ones where the others are to be kept", async () => {
    const { policies } = database().store;
    const first = await policies.replace([standard, domain("a.example")]);
    const second = await policies.replace([domain("a.example"), domain("c.example")], {
      keepOthers: true,
    });
    const revisions = (await policies.all()).map(({ _id, revision }) => [_id, revision]);
    expect(revisions).toEqual([
      ["default", first],
      ["domain:a.example", second],
      ["domain:c.example", second],
    ]);
  });

  it("written by two at once get two revisions, and are never a mixture", async () => {
    const { store, uri, name } = database();
    const other = await openStore(uri, name);
    const sets = ["x", "y"].map((set) => [domain(`1.${set}`), domain(`2.${set}`)]);
    const revisions = await Promise.all([
      store.policies.replace(sets[0] ?? []),
      other.policies.replace(sets[1] ?? []),
    ]);
    expect(new Set(revisions).size).toBe(2);
    const all = await store.policies.all();
    expect(all).toHaveLength(2);
    expect(new Set(all.map(({ revision }) => revision)).size).toBe(1);
    await other.close();
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

  it("is another where an older state was put back and changed again to the same revision", async () => {
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

  it("is another where the collection was exchanged or dropped behind our back", async () => {
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
  it("last until they are resumed, and say by whom", async () => {
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
