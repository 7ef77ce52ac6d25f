import { once } from "node:events";
import { randomUUID } from "node:crypto";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { Route } from "@rs-agent/shared/mail/route.ts";
import { expect, it, vi } from "vitest";
import { rawMail, readyMail, routeTo } from "./ready-mail.ts";
import { relayProcess } from "./relay-process.ts";
import { ownDatabase, runningRelay, runningSink, type Sink } from "./running-relay.ts";

async function installation() {
  const db = `relay-${randomUUID()}`;
  return { db, database: await ownDatabase(db) };
}

function numbered(count: number) {
  return Buffer.concat([Buffer.from(`X-Number: ${count}\r\n`), rawMail]);
}

async function manyMails(database: Database, route: Route, count: number): Promise<string[]> {
  const mails = Array.from({ length: count }, (_, at) =>
    readyMail(database, { route }, numbered(at)),
  );
  return Promise.all(mails);
}

/** How often each mail arrived, by number. */
async function arrivals(sink: Sink): Promise<number[]> {
  const counts: number[] = [];
  for (const mail of await sink.mails()) {
    const number = Number(/^X-Number: (\d+)/.exec(mail.toString("latin1", 0, 40))?.[1]);
    counts[number] = (counts[number] ?? 0) + 1;
  }
  return counts;
}

async function allSent(database: Database, count: number): Promise<void> {
  await vi.waitFor(async () => {
    expect(await database.mails.countOutcomes()).toMatchObject({ sent: count, open: 0 });
  });
}

it("I3: two relays share the mail of one route and never send the same one", async () => {
  const { db, database } = await installation();
  const sink = await runningSink();
  await manyMails(database, routeTo(sink.port), 300);
  const settings = { RELAY_BATCH: "20", RELAY_CONCURRENCY: "5" };
  const relays = await Promise.all([
    runningRelay(db, { ...settings, ACTOR_ID: "relay-1" }),
    runningRelay(db, { ...settings, ACTOR_ID: "relay-2" }),
  ]);
  await allSent(database, 300);
  expect(await arrivals(sink)).toEqual(Array.from({ length: 300 }, () => 1));
  for (const { counts } of relays) expect(counts.sent).toBeGreaterThan(0);
});

it("finishes what is in flight on SIGTERM, gives back the rest and exits 0", async () => {
  const { db, database } = await installation();
  const begun = Promise.withResolvers<undefined>();
  const sink = await runningSink({
    answer: async ({ step }) => {
      if (step !== "mail") return undefined;
      begun.resolve(undefined);
      const { promise, resolve } = Promise.withResolvers<undefined>();
      setTimeout(() => resolve(undefined), 100);
      return promise;
    },
  });
  await manyMails(database, routeTo(sink.port), 100);
  const leaving = relayProcess(db, { RELAY_CONCURRENCY: "4", RELAY_BATCH: "40" });
  await begun.promise;
  leaving.kill("SIGTERM");
  const [code] = (await once(leaving, "exit")) as [number];
  expect(code).toBe(0);
  const atExit = sink.delivered;
  expect(atExit).toBeLessThan(100);
  const open = await database.mails.find({ limit: 200 });
  const waiting = open.filter(({ state }) => state !== "sent");
  expect(waiting).toHaveLength(100 - atExit);
  for (const mail of waiting) {
    expect(mail).toMatchObject({ state: "ready" });
    expect(mail.lease ?? mail.unknown).toBeUndefined();
  }
  await runningRelay(db);
  await allSent(database, 100);
  expect(await arrivals(sink)).toEqual(Array.from({ length: 100 }, () => 1));
});

it("closes immediately on a second SIGTERM: what was under way is marked, nothing is lost", async () => {
  const { db, database } = await installation();
  const begun = Promise.withResolvers<undefined>();
  const { promise: never } = Promise.withResolvers<undefined>();
  const sink = await runningSink({
    answer: ({ step }) => {
      if (step !== "mail") return undefined;
      begun.resolve(undefined);
      return never;
    },
  });
  const [id = ""] = await manyMails(database, routeTo(sink.port), 1);
  const leaving = relayProcess(db);
  let log = "";
  leaving.stderr.on("data", (chunk: Buffer) => (log += chunk.toString()));
  await begun.promise;
  leaving.kill("SIGTERM");
  await vi.waitFor(() => expect(log).toContain("draining"));
  leaving.kill("SIGTERM");
  const [code] = (await once(leaving, "exit")) as [number];
  expect(code).toBe(75);
  const mail = await database.mails.get(id);
  expect(mail?.state).toBe("relaying");
  expect(mail?.unknown).toMatchObject({ attempt: 1, recipients: ["b@rcpt.example"] });
});
