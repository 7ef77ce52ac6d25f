import { randomUUID } from "node:crypto";
import { newToken } from "@rs-agent/shared/ids.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { expect, it, onTestFinished, vi } from "vitest";
import { mailIn, readyMail, routeTo } from "./ready-mail.ts";
import { relayProcess, shortTimeouts } from "./relay-process.ts";
import { ownDatabase, runningRelay, runningSink } from "./running-relay.ts";
import { machineMs } from "../../../test/support/machine.ts";

const killer = "kills-the-relay@rcpt.example";

async function installation() {
  const db = `relay-${randomUUID()}`;
  return { db, database: await ownDatabase(db) };
}

/** A relay that is restarted whenever it is killed. */
function supervised(db: string, settings: Record<string, string>) {
  let starts = 0;
  let isOver = false;
  let child: ReturnType<typeof relayProcess> | undefined;
  const start = () => {
    starts += 1;
    child = relayProcess(db, settings);
    child.on("exit", () => {
      if (!isOver) start();
    });
  };
  start();
  onTestFinished(() => {
    isOver = true;
    child?.kill("SIGKILL");
  });
  return { kill: () => child?.kill("SIGKILL"), starts: () => starts };
}

it("the mail that kills every relay in its transaction is dead after five, its outcome unknown; the others are sent", async () => {
  const { db, database } = await installation();
  const sink = await runningSink({
    answer: async (moment) => {
      if (moment.step !== "mail" || moment.recipient !== killer) return undefined;
      relay.kill();
      await new Promise((resolve) => setTimeout(resolve, 300));
      return undefined;
    },
  });
  const route = routeTo(sink.port);
  const poison = await readyMail(database, { to: [killer], route });
  const others = await Promise.all(
    Array.from({ length: 20 }, () => readyMail(database, { route })),
  );
  const relay = supervised(db, {
    ...shortTimeouts,
    RELAY_LEASE_MS: machineMs(600),
    ACTOR_ID: "relay-1",
  });
  const dead = await vi.waitFor(() => mailIn(database, poison, "dead"));
  for (const id of others) await vi.waitFor(() => mailIn(database, id, "sent"));
  expect(dead.reason).toBe(
    "services ended over it: 3 had it among others, then alone relay-1, relay-1; " +
      "the outcome of its last attempt is unknown",
  );
  expect(relay.starts()).toBe(6);
  // I8: each time again after the wait, counted; the outcome of the last one is still unknown.
  const events = dead.history.map(({ event }) => event);
  expect(events.filter((event) => event === "sent again")).toHaveLength(4);
  expect(events.filter((event) => event === "outcome unknown")).toHaveLength(5);
  expect(dead.unknown?.resolveAt).toBeDefined();
});

const states = ["ready", "relaying"] as const;
const died = { states, owner: "relay that dies", leaseMs: Number(machineMs(200)) };

/** Claims like relays that are killed immediately: three among others, then this many alone. */
async function claimAndDie({ mails }: Database, next: string, alone: number): Promise<void> {
  for (let time = 1; time <= 3; time++) {
    await vi.waitFor(async () => {
      expect(await mails.claim({ ...died, next, limit: 9 })).toHaveLength(1);
    });
  }
  for (let time = 1; time <= alone; time++) {
    await vi.waitFor(async () => {
      const claim = { ...died, token: newToken(), without: [] };
      expect(await mails.claimSuspect(claim)).toBeDefined();
    });
  }
}

it("a mail that killed relays before its transaction is dead, and the hop sees nothing of it", async () => {
  const { db, database } = await installation();
  const sink = await runningSink();
  const route = routeTo(sink.port);
  const id = await readyMail(database, { route });
  await claimAndDie(database, route.key, 2);
  const { counts } = await runningRelay(db);
  const dead = await vi.waitFor(() => mailIn(database, id, "dead"));
  expect(dead.recipients[0]?.outcome).toBe("dead");
  expect(dead.unknown).toBeUndefined();
  expect(counts.dead).toBe(1);
  expect(sink.sessions).toBe(0);
});

it("a suspect that is sent is no longer a suspect, whatever died before", async () => {
  const { db, database } = await installation();
  const sink = await runningSink();
  const route = routeTo(sink.port);
  const id = await readyMail(database, { route });
  await claimAndDie(database, route.key, 1);
  await runningRelay(db);
  const sent = await vi.waitFor(() => mailIn(database, id, "sent"));
  expect(sent.unended).toBeUndefined();
  expect(sent.alone).toBeUndefined();
  expect(sink.delivered).toBe(1);
});

it("a suspect finds out that a failed route works again, and is not taken over and over meanwhile", async () => {
  const { db, database } = await installation();
  const away = await runningSink();
  const { port, dir } = away;
  await away.stop();
  const route = routeTo(port);
  const relay = { maxQueueMs: 3_600_000, retryMs: [2_000], onUnknown: "resend" as const };
  const id = await readyMail(database, { route, relay });
  await claimAndDie(database, route.key, 1);
  await runningRelay(db);
  // Nothing was begun: the mail is suspected as much as before, once the relay has said that it
  // lives.
  await vi.waitFor(async () => {
    const mail = await database.mails.get(id);
    expect(mail?.recipients[0]?.attempts).toBeGreaterThanOrEqual(1);
    expect(mail).toMatchObject({ unended: 4, alone: [expect.anything()] });
    expect(mail?.lease).toBeUndefined();
  });
  await runningSink({ port, dir });
  await vi.waitFor(() => mailIn(database, id, "sent"));
});
