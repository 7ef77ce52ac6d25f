import { setImmediate } from "node:timers/promises";
import { expect, onTestFinished, test, vi } from "vitest";
import { z } from "zod";
import type { WorkerPool } from "../../src/bus/worker-pool.ts";
import { systemClock } from "../../src/clock.ts";
import { loadConfig } from "../../src/config.ts";
import { busSettings } from "../../src/worker/config.ts";
import { listenForWaiting } from "../../src/worker/waiting-listener.ts";
import { linesLike, makeKeyFolder, openKeyedPool } from "./keyed-actors.ts";
import { createMemoryLog, fastTiming, openPool } from "./pool-and-worker.ts";

interface Told {
  route: string;
  mails: readonly string[];
}

/** A relay's ears in this process. Closed when the test is over. */
function openListener(actorId: string, pools: WorkerPool[], env: Record<string, string> = {}) {
  const told: Told[] = [];
  let opened = 0;
  const { log, lines } = createMemoryLog();
  const listener = listenForWaiting({
    settings: loadConfig(z.object(busSettings), env),
    dispatchers: pools.map(({ endpoint }) => endpoint),
    actorId,
    clock: systemClock,
    log,
    timing: fastTiming,
    onWaiting: (route, mails) => told.push({ route, mails }),
    onOpen: () => (opened += 1),
  });
  listener.done.catch(() => undefined);
  onTestFinished(() => listener.close());
  return { listener, told, lines, opened: () => opened };
}

const isHeard = (listener: { sessions: number }, sessions = 1) =>
  vi.waitFor(() => expect(listener.sessions).toBe(sessions));

/** The dispatcher has heard of the relay. */
const isHere = (lines: Record<string, unknown>[], times = 1) =>
  vi.waitFor(() => expect(linesLike(lines, /^relay is here$/)).toHaveLength(times));

test("a relay is told what waits for a route, in one frame for each turn of the loop", async () => {
  const { pool, lines } = await openPool();
  const { told, opened, listener } = openListener("relay-1", [pool]);
  await isHeard(listener);
  await isHere(lines);
  expect(opened()).toBe(1);
  for (const mailId of ["a", "b"]) pool.tellRelay("hop:25|", mailId);
  pool.tellRelay("other:25|", "c");
  await vi.waitFor(() => expect(told).toHaveLength(2));
  expect(told).toEqual([
    { route: "hop:25|", mails: ["a", "b"] },
    { route: "other:25|", mails: ["c"] },
  ]);
  const many = Array.from({ length: 250 }, (_, n) => `m${n}`);
  for (const mailId of many) pool.tellRelay("hop:25|", mailId);
  await vi.waitFor(() => expect(told).toHaveLength(5));
  expect(told.slice(2).flatMap(({ mails }) => mails)).toEqual(many);
  expect(Object.values(listener.dropped()).reduce((sum, count) => sum + count)).toBe(0);
});

test("relays are told in turn, and one that has left is told no more", async () => {
  const { pool, lines } = await openPool();
  const one = openListener("relay-1", [pool]);
  const other = openListener("relay-2", [pool]);
  await isHere(lines, 2);
  const tell = async (count: number) => {
    for (let n = 0; n < count; n += 1) {
      pool.tellRelay("hop:25|", `m${n}`);
      await setImmediate();
      await setImmediate();
    }
  };
  await tell(10);
  await vi.waitFor(() => expect([one.told.length, other.told.length]).toEqual([5, 5]));
  await one.listener.close();
  await vi.waitFor(() => expect(linesLike(lines, /^relay has left$/)).toHaveLength(1));
  await tell(6);
  await vi.waitFor(() => expect(other.told).toHaveLength(11));
  expect(one.told).toHaveLength(5);
});

test("a relay has no credit and is no worker: it is given no task and is not listed among them", async () => {
  const { pool, lines } = await openPool();
  openListener("relay-1", [pool]);
  await isHere(lines);
  expect(pool.workers()).toEqual([]);
  expect(pool.free("virus")).toEqual({ tasks: 0, bytes: 0 });
});

test("a relay that nobody hears is told nothing, and one without relays tells nobody", async () => {
  const { pool, lines } = await openPool();
  pool.tellRelay("hop:25|", "nobody");
  const { told } = openListener("relay-1", [pool]);
  await isHere(lines);
  pool.tellRelay("hop:25|", "somebody");
  await vi.waitFor(() => expect(told).toEqual([{ route: "hop:25|", mails: ["somebody"] }]));
});

test("with keys, only one that is listed for a relay is taken for one", async () => {
  const folder = makeKeyFolder();
  const { pool, lines } = await openKeyedPool(folder);
  const stranger = openListener("relay-1", [pool], folder.env("av-worker"));
  await vi.waitFor(() =>
    expect(linesLike(lines, /^worker refused: its key is listed for av-worker/)).toHaveLength(1),
  );
  await stranger.listener.close();
  const { told, listener } = openListener("relay-2", [pool], folder.env("relay"));
  await isHeard(listener);
  await isHere(lines);
  pool.tellRelay("hop:25|", "a");
  await vi.waitFor(() => expect(told).toHaveLength(1));
  expect(stranger.told).toEqual([]);
});

test("a dispatcher that comes back says what it says from then on: what was missed is to be looked for", async () => {
  const first = await openPool();
  const { endpoint } = first.pool;
  const { opened, told, listener } = openListener("relay-1", [first.pool]);
  await isHeard(listener);
  await first.pool.close();
  await isHeard(listener, 0);
  const { pool, lines } = await openPool({ bind: endpoint });
  await isHere(lines);
  expect(opened()).toBe(2);
  pool.tellRelay("hop:25|", "a");
  await vi.waitFor(() => expect(told).toHaveLength(1));
});

test("a mailbox beyond this host needs keys", () => {
  expect(() => openListener("relay-1", [], { BUS_BIND: "tcp://0.0.0.0:*" })).toThrow("keys");
});
