import { MongoClient } from "mongodb";
import { describe, expect, it, onTestFinished } from "vitest";
import { systemClock, type Clock } from "../../src/clock.ts";
import { RetryableError, TerminalError } from "../../src/errors.ts";
import { createSilentLogger } from "../../src/logger.ts";
import { hostsOf } from "../../src/store/connection.ts";
import { createStores, openDatabase } from "../../src/store/database.ts";
import { startMongoDbProxy } from "../../../test/support/mongodb-proxy/mongodb-proxy.ts";
import { holdingOf, useDatabase } from "./test-database.ts";
import { newMail } from "../../../test/support/new-mail.ts";

const database = useDatabase();
const log = createSilentLogger();

describe("openDatabase", () => {
  it("says which server it found, without user and password", () => {
    const { store } = database();
    expect(store.server).toMatch(/^(MongoDB|SecantusDB) \S+, replica set \S+ at 127\.0\.0\.1:\d+/);
    expect(hostsOf("mongodb://ann:secret@a.example:1,b.example:2/?w=1")).toBe(
      "a.example:1,b.example:2",
    );
    expect(hostsOf("secret nonsense")).not.toContain("secret");
  });

  it("is a retryable error if no server answers", async () => {
    const uri = "mongodb://ann:secret@127.0.0.1:1/?serverSelectionTimeoutMS=200";
    const opening = openDatabase({ uri, db: "x", clock: systemClock, log });
    await expect(opening).rejects.toThrow(RetryableError);
    await expect(opening).rejects.toMatchObject({
      code: "STORE_UNREACHABLE",
      message: expect.not.stringContaining("secret") as string,
    });
  });

  it("refuses what is not a connection string, without repeating it", async () => {
    const uri = "mongo://ann:secret@127.0.0.1";
    const opening = openDatabase({ uri, db: "x", clock: systemClock, log });
    await expect(opening).rejects.toThrow(TerminalError);
    await expect(opening).rejects.toMatchObject({
      code: "CFG_INVALID",
      message: expect.not.stringContaining("secret") as string,
    });
  });

  it("names what the server refuses, in one line", async () => {
    const proxy = await startMongoDbProxy(database().uri);
    onTestFinished(() => proxy.close());
    proxy.strike({
      command: "createIndexes",
      times: 99,
      fault: { kind: "error", error: "invalidNamespace" },
    });
    const { uri } = proxy;
    const opening = openDatabase({ uri, db: "a", clock: systemClock, log });
    await expect(opening).rejects.toMatchObject({
      code: "CFG_INVALID",
      message: expect.stringMatching(
        /^MongoDB at .* refuses \(MONGODB_URI, MONGODB_DB\): .*a\/b/,
      ) as string,
    });
  });

  it("leaves nothing open after close", async () => {
    const { uri, name } = database();
    const store = await openDatabase({ uri, db: name, clock: systemClock, log });
    await store.close();
    await expect(store.ping()).rejects.toThrow(RetryableError);
  });
});

describe("reads and writes", () => {
  const reading = ["find", "aggregate", "distinct"];
  const writing = ["insert", "update", "delete", "findAndModify"];

  it("are majority, journaled and from the primary, whatever the URI says", async () => {
    const { uri, name } = database();
    // Not over a direct connection, for which the driver adds a preference of its own.
    const bare = uri.replace(/directConnection=true&?/, "");
    const careless = `${bare}&w=1&journal=false&readPreference=secondaryPreferred&readConcernLevel=local`;
    const client = new MongoClient(careless, { monitorCommands: true });
    const commands: Record<string, unknown>[] = [];
    client.on("commandStarted", ({ commandName, command }) => {
      if ([...reading, ...writing].includes(commandName))
        commands.push({ commandName, ...(command as object) });
    });
    const { mails, bodies, policies, retention } = createStores({
      client,
      name,
      clock: systemClock,
      log,
      lingerMs: 1,
    });
    const body = await bodies.put(Buffer.from("x"));
    const large = await bodies.put(Buffer.alloc(9_000_000));
    await bodies.get(large);
    const mail = newMail({ body, next: "careless" });
    await mails.insert(mail);
    const states = ["incoming"] as const;
    const claim = { states, next: "careless", limit: 1, owner: "x", leaseMs: 5_000 };
    const [claimed] = await mails.claim(claim);
    await mails.write(holdingOf(claimed), { set: { reason: "x" } });
    await mails.renew([holdingOf(claimed)], 5_000);
    await mails.writeAs(mail._id, { states, unleased: false }, { set: { state: "held" } });
    await mails.waiting();
    await mails.routesWaiting("ready");
    await mails.dueFor({ states, next: ["careless"] });
    await policies.all();
    const old = { createdAt: new Date(0), uploadDate: new Date(0) };
    for (const { id } of [await bodies.put(Buffer.from("old")), large])
      for (const collection of ["bodies", "bodies.files"])
        await database()
          .db.collection(collection)
          .updateOne({ _id: id as never }, { $set: old });
    // What the first sweep finds, the second removes.
    await retention.sweep();
    await retention.sweep();
    await client.close();

    expect(commands.length).toBeGreaterThan(20);
    for (const command of commands) {
      const name = String(command.commandName);
      const collection = String(command[name]);
      if (writing.includes(name))
        expect.soft(command.writeConcern, `${name} ${collection}`).toMatchObject({
          w: "majority",
          j: true,
        });
      else if (collection !== "bodies.files" && collection !== "bodies.chunks")
        expect.soft(command.readConcern, `${name} ${collection}`).toEqual({ level: "majority" });
      expect
        .soft(command.$readPreference ?? { mode: "primary" }, `${name} ${collection}`)
        .toEqual({ mode: "primary" });
    }
  });
});

describe("the database's clock", () => {
  it("shows the database's time on a host whose own clock is wrong", async () => {
    const { uri, name } = database();
    let monotonic = 5_000;
    const wrong: Clock = { now: () => new Date(0), monotonicMs: () => monotonic };
    await using store = await openDatabase({ uri, db: name, clock: wrong, log });
    const first = store.clock.now().getTime();
    expect(Math.abs(first - Date.now())).toBeLessThan(2_000);
    monotonic += 3_000;
    expect(store.clock.now().getTime() - first).toBe(3_000);
    expect(store.clock.monotonicMs()).toBe(8_000);
  });
});
