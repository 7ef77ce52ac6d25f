import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { Fault } from "../../../test/support/mongodb-proxy/fault.ts";
import {
  startMongoDbProxy,
  type MongoDbProxy,
} from "../../../test/support/mongodb-proxy/mongodb-proxy.ts";
import type { Relay } from "../src/relay.ts";
import { mailIn, readyMail, routeTo } from "./ready-mail.ts";
import { ownDatabase, runningRelay, runningSink, type Sink } from "./running-relay.ts";
import { mongodbUri } from "../../../test/support/test-mongodb.ts";

let proxy: MongoDbProxy;
let database: Database;
let relay: Relay;
let sink: Sink;
beforeEach(async () => {
  proxy = await startMongoDbProxy(mongodbUri());
  // Registered first, so that it ends after everything that runs behind it.
  onTestFinished(() => proxy.close());
  const db = `relay-${randomUUID()}`;
  database = await ownDatabase(db);
  sink = await runningSink();
  const MONGODB_URI = `${proxy.uri}&serverSelectionTimeoutMS=1000`;
  relay = await runningRelay(db, { MONGODB_URI, RELAY_LEASE_MS: "20000" });
});

const newMails = (count: number) =>
  Promise.all(
    Array.from({ length: count }, () => readyMail(database, { route: routeTo(sink.port) })),
  );

/** All are sent, each once, and no record says otherwise. */
async function expectSentOnce(ids: readonly string[]): Promise<void> {
  for (const id of ids) {
    const mail = await vi.waitFor(() => mailIn(database, id, "sent"));
    expect(mail.recipients[0]).toMatchObject({ outcome: "sent", attempts: 1 });
    expect(mail.unknown).toBeUndefined();
    expect(mail.history.map(({ event }) => event)).toEqual(["ready", "relay attempt"]);
  }
  expect(sink.delivered).toBe(ids.length);
  expect(relay.counts).toMatchObject({ unknown: 0, resentMails: 0, staleMails: 0 });
}

describe("sends each mail once, and what comes after, where the database says", () => {
  const faults: [string, Fault, number][] = [
    ["NotWritablePrimary", { kind: "error", error: "notWritablePrimary" }, 3],
    ["PrimarySteppedDown", { kind: "error", error: "primarySteppedDown" }, 3],
    ["InterruptedAtShutdown", { kind: "error", error: "interruptedAtShutdown" }, 3],
    [
      "a write-concern error on a write that matched",
      { kind: "write concern", error: "timeout" },
      3,
    ],
    ["the same of a step-down", { kind: "write concern", error: "steppedDown" }, 3],
    ["nothing: its replies are lost", { kind: "lose reply", close: true }, 3],
    ["nothing for a while", { kind: "delay", ms: 1_500 }, 3],
  ];
  it.each(faults)("%s", async (_, fault, times) => {
    const struck = proxy.strike({ command: "update", collection: "mails", times, fault });
    const ids = await newMails(8);
    await expectSentOnce(ids);
    expect(struck.hits).toBe(times);
    await expectSentOnce([...ids, ...(await newMails(2))]);
  });
});

describe("recovers by itself, and has sent each mail once, after the database was", () => {
  it.each([
    ["away", () => proxy.cut()],
    ["without a primary", () => proxy.stepDown()],
    ["silent", () => proxy.silence()],
    ["restarted", () => proxy.reset()],
  ])("%s", async (_, fail) => {
    const before = await newMails(5);
    await vi.waitFor(() => expect(sink.delivered).toBeGreaterThan(0));
    fail();
    await delay(2_500);
    proxy.restore();
    const after = await newMails(5);
    await expectSentOnce([...before, ...after]);
  });
});
