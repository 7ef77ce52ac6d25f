import { MongoClient, type Document } from "mongodb";
import { describe, expect, it, onTestFinished } from "vitest";
import { startMongoDbProxy } from "../../../test/support/mongodb-proxy/mongodb-proxy.ts";
import { newMail } from "../../../test/support/new-mail.ts";
import { createSilentLogger } from "../../src/logger.ts";
import type { BodyRef } from "../../src/mail/record.ts";
import { createStores } from "../../src/store/database.ts";
import { openStore, useDatabase } from "./test-database.ts";

const database = useDatabase();
const raw = Buffer.from("Subject: x\r\n\r\nbody\r\n");
const of = (body: BodyRef) => newMail({ body, next: "arrived" });

/** The stores on a client whose commands are seen. */
function seenStores() {
  const { uri, name, store } = database();
  const client = new MongoClient(uri, { monitorCommands: true });
  onTestFinished(() => client.close());
  const commands: Document[] = [];
  client.on("commandStarted", ({ commandName, command }) => {
    if (commandName === "bulkWrite" || commandName === "insert") commands.push(command);
  });
  const log = createSilentLogger();
  return { ...createStores({ client, name, clock: store.clock, log, lingerMs: 1 }), commands };
}

/** The server has the command of MongoDB 8. */
async function isJoint(): Promise<boolean> {
  const hello = await database().client.db("admin").command({ hello: 1 });
  return Number(hello.maxWireVersion) >= 25;
}

describe("a new mail with its body", () => {
  it("is one command with the bodies first, durable by the majority, where the server has it", async (context) => {
    if (!(await isJoint())) context.skip("this server is older than MongoDB 8");
    const { arrivals, mails, bodies, commands } = seenStores();
    await arrivals.store(raw, of);
    commands.length = 0;
    const ids: string[] = [];
    const store = () =>
      arrivals.store(raw, (body) => {
        const mail = of(body);
        ids.push(mail._id);
        return mail;
      });
    expect(await Promise.all([store(), store(), store()])).toEqual(Array(3).fill("inserted"));
    for (const command of commands) {
      expect(command).toMatchObject({
        bulkWrite: 1,
        ordered: true,
        writeConcern: { w: "majority", j: true },
      });
      const { ops, nsInfo } = command as { ops: { insert: number }[]; nsInfo: { ns: string }[] };
      const into = ops.map(({ insert }) => nsInfo[insert]?.ns.split(".")[1]);
      expect(into).toEqual([...into].sort());
      expect(new Set(into)).toEqual(new Set(["bodies", "mails"]));
    }
    expect(commands.length).toBeLessThanOrEqual(2);
    for (const id of ids) {
      const mail = await mails.get(id);
      expect(await bodies.get(mail?.body as BodyRef)).toEqual(raw);
    }
  });

  it("of more than a document may have is two commands", async () => {
    const { arrivals, mails, bodies } = seenStores();
    const large = Buffer.alloc(9_000_000, "x");
    let id = "";
    await arrivals.store(large, (body) => {
      const mail = of(body);
      id = mail._id;
      return mail;
    });
    expect(await bodies.get((await mails.get(id))?.body as BodyRef)).toEqual(large);
  });

  it("stays as another has stored it under its id", async () => {
    const { arrivals, mails } = seenStores();
    const mail = newMail();
    await mails.insert(mail);
    expect(await arrivals.store(raw, (body) => ({ ...mail, body }))).toBe("present");
    expect((await mails.get(mail._id))?.body).toEqual(mail.body);
    expect(await arrivals.store(raw, of)).toBe("inserted");
  });

  it("is not begun once nobody waits for it", async () => {
    const { arrivals, mails } = seenStores();
    let id = "";
    const make = (body: BodyRef) => {
      const mail = of(body);
      id = mail._id;
      return mail;
    };
    const gone = new Error("the client has gone");
    await expect(arrivals.store(raw, make, AbortSignal.abort(gone))).rejects.toThrow(gone);
    expect(await mails.get(id)).toBeUndefined();
  });

  it("is two commands from then on where the server refuses the one", async (context) => {
    if (!(await isJoint())) context.skip("this server is older than MongoDB 8");
    await using proxy = await startMongoDbProxy(database().uri);
    await using store = await openStore(proxy.uri, database().name);
    const fault = { kind: "error", error: "commandNotFound" } as const;
    const struck = proxy.strike({ command: "bulkWrite", times: Infinity, fault });
    for (let n = 0; n < 3; n += 1) expect(await store.arrivals.store(raw, of)).toBe("inserted");
    expect(struck.hits).toBe(1);
  });

  it.each([
    ["an answer that is lost", { kind: "lose reply", close: true }],
    ["a command that is lost", { kind: "lose command" }],
    ["a majority that is not seen", { kind: "write concern", error: "timeout" }],
  ] as const)(
    "is stored once in spite of %s, and in one command the next time",
    async (_, fault) => {
      if (!(await isJoint())) return;
      await using proxy = await startMongoDbProxy(database().uri);
      await using store = await openStore(proxy.uri, database().name);
      const struck = proxy.strike({ command: "bulkWrite", times: 2, fault });
      let id = "";
      const make = (body: BodyRef) => {
        const mail = of(body);
        id = mail._id;
        return mail;
      };
      expect(await store.arrivals.store(raw, make)).toBe("inserted");
      expect(await store.bodies.get((await store.mails.get(id))?.body as BodyRef)).toEqual(raw);
      expect(struck.hits).toBeGreaterThan(0);
      struck.end();
      const before = proxy.seen("insert", "mails");
      expect(await store.arrivals.store(raw, make)).toBe("inserted");
      expect(proxy.seen("insert", "mails")).toBe(before);
    },
  );
});
