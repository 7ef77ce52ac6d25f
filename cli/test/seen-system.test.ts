import { expect, it } from "vitest";
import { whyNoWorker, type SeenSystem, type SeenWorker } from "../src/seen-system.ts";

function systemOf(...workers: Partial<SeenWorker>[]): SeenSystem {
  const common = {
    kind: "spam" as const,
    mailbox: "tcp://127.0.0.1:1",
    state: "open",
    grant: { tasks: 1, bytes: 1 },
    outstanding: { tasks: 0, bytes: 0 },
    dispatchers: ["d1"],
  } satisfies Omit<SeenWorker, "id">;
  return {
    services: [],
    workers: workers.map((worker, n) => ({ id: `spam-${String(n + 1)}`, ...common, ...worker })),
    demand: [],
    routes: [],
    overloads: [],
    paused: [],
    ownChecks: [],
  };
}

const spamd = { engine: { name: "spamd", version: "4.0.1" } };
const rspamd = { engine: { name: "rspamd", version: "3.4" } };

it("says which engines there are if mail waits for another one", () => {
  expect(whyNoWorker("spam:rspamd", systemOf(spamd))).toBe(
    "none is known to a dispatcher; spam-1 has spamd",
  );
  expect(whyNoWorker("spam:rspamd", systemOf())).toBe("none is known to a dispatcher");
  expect(whyNoWorker("spam", systemOf(spamd))).toBeUndefined();
  expect(whyNoWorker("spam:rspamd", systemOf(spamd, rspamd))).toBeUndefined();
});

it("says what the workers with that engine say, and those that have not named theirs yet", () => {
  const away = { unable: "rspamd 127.0.0.1:11333: no connection" };
  const expected = "rspamd 127.0.0.1:11333: no connection";
  expect(whyNoWorker("spam:rspamd", systemOf(spamd, away))).toBe(`spam-2: ${expected}`);
  expect(whyNoWorker("spam:rspamd", systemOf(spamd, { ...rspamd, ...away }))).toBe(
    `spam-2: ${expected}`,
  );
});
