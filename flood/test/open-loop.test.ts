import { expect, it, onTestFinished } from "vitest";
import { floodOptions, type FloodArguments } from "../src/options.ts";
import { runFlood } from "../src/flood.ts";
import type { Standing } from "../src/measure/ticker.ts";
import { startStalledServer, type StalledServer } from "./stalled-server.ts";

async function start(): Promise<StalledServer> {
  const server = await startStalledServer();
  onTestFinished(() => server.close());
  return server;
}

function flood(
  server: StalledServer,
  given: FloodArguments,
  onSecond: (standing: Standing) => void = () => undefined,
  signal = new AbortController().signal,
) {
  const args = { tenants: "a.example", mix: "clean", size: "1k", seed: "1", ...given };
  const settings = { smtp: `127.0.0.1:${server.port}`, database: undefined, processes: [] };
  return runFlood(floodOptions(args, settings), { signal, onSecond, say: () => undefined });
}

it("keeps offering while the server stands still, and counts how long every mail waits", async () => {
  const server = await start();
  server.stall();
  const stalledMs = 2_000;
  setTimeout(() => server.goOn(), stalledMs);
  const result = await flood(server, { rate: "50", for: "3s", connections: "2" });
  expect(result.handedIn).toMatchObject({ offered: 150, accepted: 150, notSent: 0 });
  // A client that waits for its answers would have two slow mails. Here half of all mails waited
  // for long: a hundred were due in these two seconds; the first waited for all of it, the last
  // hardly.
  expect(result.accept.maxMs).toBeGreaterThan(stalledMs * 0.8);
  expect(result.accept.p50Ms).toBeGreaterThan(200);
});

it("counts a mail that finds no connection and no room to wait, and does not send it", async () => {
  const server = await start();
  server.stall();
  setTimeout(() => server.goOn(), 2_000);
  const result = await flood(server, {
    ...{ rate: "50", for: "1s", connections: "2", maxWaiting: "10", timeout: "20s" },
  });
  expect(result.handedIn).toMatchObject({ offered: 50, accepted: 12, notSent: 38 });
});

it("gives up a server that does not answer in time", async () => {
  const server = await start();
  server.stall();
  const result = await flood(server, { rate: "10", mails: "4", connections: "4", timeout: "1s" });
  expect(result.handedIn).toMatchObject({ accepted: 0, failed: 4 });
  expect(result.accept.count).toBe(0);
});

it("ends with what it has when it is told to", async () => {
  const server = await start();
  const stop = new AbortController();
  const stopAfterFirst = () => stop.abort();
  const result = await flood(server, { rate: "20", for: "1h" }, stopAfterFirst, stop.signal);
  expect(result.ended).toBe("interrupted");
  expect(result.handedIn.offered).toBeGreaterThan(0);
  expect(result.handedIn.offered).toBeLessThan(1_000);
  expect(result.handedIn.accepted).toBe(result.handedIn.offered - result.handedIn.notSent);
});

it("sends as fast as the server accepts, no more mails than asked for", async () => {
  const server = await start();
  const result = await flood(server, { asFastAsAccepted: true, mails: "500", connections: "4" });
  expect(result.handedIn).toMatchObject({ offered: 500, accepted: 500 });
});
