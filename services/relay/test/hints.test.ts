import { randomUUID } from "node:crypto";
import { once } from "node:events";
import { createBusProtection } from "@rs-agent/shared/bus/protection.ts";
import { startWorkerPool } from "@rs-agent/shared/bus/worker-pool.ts";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { expect, it, onTestFinished, vi } from "vitest";
import { mailIn, readyMail, routeTo } from "./ready-mail.ts";
import { relayProcess } from "./relay-process.ts";
import { ownDatabase, runningRelay, runningSink } from "./running-relay.ts";

/** So seldom that what a test sees is a hint's doing. */
const seldom = { RELAY_POLL_MS: "60000" };

/** The bus of a dispatcher that does nothing else. */
async function bus() {
  const pool = await startWorkerPool({
    bind: "tcp://127.0.0.1:*",
    actorId: "dispatcher-1",
    protection: createBusProtection(undefined),
    clock: systemClock,
    log: createSilentLogger(),
    onResult: () => undefined,
    onLost: () => undefined,
  });
  onTestFinished(() => pool.close());
  return pool;
}

async function installation() {
  const db = `relay-${randomUUID()}`;
  return { db, database: await ownDatabase(db), sink: await runningSink(), pool: await bus() };
}

/** Says it until it is heard: a hint goes to whoever is there. */
async function toldUntil(tell: () => void, isSo: () => Promise<unknown>) {
  await vi.waitFor(async () => {
    tell();
    await isSo();
  });
}

const allSent = async (database: Database, ids: readonly string[]) => {
  for (const id of ids) await mailIn(database, id, "sent");
};

it("sends what it is told of, long before its timer would find it", async () => {
  const { db, database, sink, pool } = await installation();
  const relay = await runningRelay(db, { ...seldom, BUS_DISPATCHERS: pool.endpoint });
  const route = routeTo(sink.port);
  const first = await readyMail(database, { route });
  await toldUntil(
    () => pool.tellRelay(route.key, first),
    () => mailIn(database, first, "sent"),
  );
  const ids = await Promise.all([1, 2, 3].map(() => readyMail(database, { route })));
  for (const id of ids) pool.tellRelay(route.key, id);
  await vi.waitFor(() => allSent(database, ids));
  expect(relay.counts.sent).toBe(4);
});

it("takes no harm from hints that are wrong, late or told twice (I3, I6)", async () => {
  const { db, database, sink, pool } = await installation();
  await runningRelay(db, { ...seldom, BUS_DISPATCHERS: pool.endpoint });
  const route = routeTo(sink.port);
  const elsewhere = await readyMail(database, { route: routeTo(1, { key: "elsewhere:1|" }) });
  const held = await readyMail(database, { route });
  const claim = { states: ["ready"] as const, next: route.key, owner: "other", leaseMs: 60_000 };
  expect(await database.mails.claim({ ...claim, limit: 1 })).toHaveLength(1);
  const mine = await readyMail(database, { route });
  await toldUntil(
    () => {
      for (const id of [elsewhere, held, mine, mine, "m-unknown"]) pool.tellRelay(route.key, id);
      pool.tellRelay("no such route", mine);
    },
    () => mailIn(database, mine, "sent"),
  );
  pool.tellRelay(route.key, mine);
  const next = await readyMail(database, { route });
  pool.tellRelay(route.key, next);
  await vi.waitFor(() => mailIn(database, next, "sent"));
  expect(sink.delivered).toBe(2);
  expect((await database.mails.get(held))?.lease?.owner).toBe("other");
  expect((await database.mails.get(elsewhere))?.claims).toBeUndefined();
});

it("the mail of which a relay was told that is killed then is another's, by its timer (I6)", async () => {
  const { db, database, sink, pool } = await installation();
  const route = routeTo(sink.port);
  const settings = { ...seldom, BUS_DISPATCHERS: pool.endpoint, RELAY_LEASE_MS: "1000" };
  const told = relayProcess(db, { ...settings, ACTOR_ID: "relay-1" });
  const first = await readyMail(database, { route });
  await toldUntil(
    () => pool.tellRelay(route.key, first),
    () => mailIn(database, first, "sent"),
  );
  const ids = await Promise.all(Array.from({ length: 20 }, () => readyMail(database, { route })));
  for (const id of ids) pool.tellRelay(route.key, id);
  told.kill("SIGKILL");
  await once(told, "exit");
  await runningRelay(db, { ACTOR_ID: "relay-2" });
  await vi.waitFor(() => allSent(database, ids));
});
