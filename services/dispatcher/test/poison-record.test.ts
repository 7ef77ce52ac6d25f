import { once } from "node:events";
import { connect, createServer, type AddressInfo } from "node:net";
import { builtInTasks } from "@rs-agent/shared/checks/verdict.ts";
import { mailIdOf } from "@rs-agent/shared/store/adoption.ts";
import { parseSources } from "@rs-agent/shared/store/source-config.ts";
import { MongoClient, type ObjectId } from "mongodb";
import { ConnectionString } from "mongodb-connection-string-url";
import { expect, it, onTestFinished, vi } from "vitest";
import { freePort } from "@rs-agent/kit/free-port.ts";
import { openBench, type Bench } from "./in-process.ts";
import { superviseDispatcher } from "./supervised-dispatcher.ts";
import { machineMs } from "../../../test/support/machine.ts";

const marker = Buffer.from("ends the dispatcher that reads it");

/** A way to the database that goes silent once the marker passes. */
async function wayToDatabase(uri: string, onMarker: () => void): Promise<string> {
  const [host = "", port = ""] = (new ConnectionString(uri).hosts[0] ?? "").split(":");
  const server = createServer((client) => {
    const database = connect(Number(port), host);
    let seen = Buffer.alloc(0);
    const end = () => {
      client.destroy();
      database.destroy();
    };
    database.on("data", (data) => {
      seen = Buffer.concat([seen, data]);
      if (seen.includes(marker)) {
        onMarker();
        end();
      } else client.write(data);
      seen = seen.subarray(-marker.length);
    });
    client.on("data", (data) => database.write(data));
    for (const socket of [client, database]) socket.on("error", end).on("close", end);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(() => void server.close());
  return `mongodb://127.0.0.1:${String((server.address() as AddressInfo).port)}/?directConnection=true`;
}

/** It is killed by its database when the poison passes. */
async function supervised(bench: Bench, id: string, bind: string, sources: string) {
  const uri = await wayToDatabase(bench.settings.MONGODB_URI ?? "", () => dispatcher.kill());
  const dispatcher: ReturnType<typeof superviseDispatcher> = superviseDispatcher(bench, {
    MONGODB_URI: uri,
    BUS_BIND: bind,
    ACTOR_ID: id,
    LEASE_MS: machineMs(5_000),
    PLACE_MS: "100",
    SOURCES: sources,
  });
  return dispatcher;
}

function record(text: string | Buffer) {
  return {
    state: "incoming",
    smtp: { mailFrom: "a@b.example", rcptTo: ["bob@acme.example"], client: {} },
    body: Buffer.from(`Subject: x\r\n\r\n${text.toString()}\r\n`),
  };
}

it("the record that ends every dispatcher that reads it is dead after five, and nothing else is", async () => {
  const bench = await openBench();
  const client = new MongoClient(bench.settings.MONGODB_URI ?? "");
  onTestFinished(() => client.close());
  const db = client.db(bench.db);
  const json = JSON.stringify([
    { name: "inbox", form: "native", mode: "deliver", db: bench.db, collection: "inbox" },
  ]);
  const [source] = parseSources(json);
  if (source === undefined) throw new Error("no source");
  const texts = [...Array.from({ length: 20 }, (_, at) => `hello ${String(at)}`)];
  texts.splice(10, 0, marker.toString());
  const { insertedIds } = await db.collection("inbox").insertMany(texts.map(record));
  const ids = Object.values(insertedIds);
  // Two were killed from outside while they held all of them.
  const by = { limit: 100, owner: "dispatcher-9", leaseMs: Number(machineMs(300)) };
  expect((await bench.database.sources.take(source, by)).stubs).toHaveLength(21);
  const claim = { states: ["incoming"] as const, next: "adopt", ...by };
  let claimed = 0;
  await vi.waitFor(async () => {
    claimed += (await bench.database.mails.claim(claim)).length;
    expect(claimed).toBe(21);
  });
  const binds = [await freePort(), await freePort()].map((port) => `tcp://127.0.0.1:${port}`);
  const [first = "", second = ""] = binds;
  for (const kind of builtInTasks) bench.worker(kind, { dispatchers: binds.join(",") });
  const one = await supervised(bench, "dispatcher-1", first, json);
  const other = await supervised(bench, "dispatcher-2", second, json);
  const stateOf = async (id: unknown) =>
    (await bench.database.mails.get(mailIdOf(source, id)))?.state;
  await vi.waitFor(async () => expect(await stateOf(ids[10])).toBe("dead"));
  const letter = await bench.get(mailIdOf(source, ids[10]));
  expect(letter.reason).toMatch(
    /^record of source inbox: services ended over it: \d had it among others, then alone dispatcher-[12], dispatcher-[12]$/,
  );
  const endings = one.starts() + other.starts() - 2;
  expect(endings).toBeGreaterThanOrEqual(3);
  expect(endings).toBeLessThanOrEqual(6);
  for (const [at, id] of ids.entries()) {
    if (at !== 10) expect(await stateOf(id)).toMatch(/^(incoming|processing|ready)$/);
  }
  await db
    .collection("inbox")
    .insertOne({ ...record("later"), _id: "later" as unknown as ObjectId });
  await vi.waitFor(async () => expect(await stateOf("later")).toBeDefined());
  expect(await db.collection("mails").countDocuments({ "alone.0": { $exists: true } })).toBe(0);
});
