import { tmpdir } from "node:os";
import { expect, test } from "vitest";
import { diagnoseClock, diagnoseDisk, judgeDisk } from "../src/doctor/host.ts";

const gb = 1024 ** 3;

test.each([
  [500, 1_000, { ok: true }],
  [90, 1_000, { ok: true, warning: true }],
  [1.5, 10, { ok: true, warning: true }],
  [9, 1_000, { ok: false }],
  [0.1, 1, { ok: false }],
])("a disk with %d GB free of %d is judged by share and size", (free, total, expected) => {
  const diagnosis = judgeDisk("/data", { freeBytes: free * gb, totalBytes: total * gb });
  expect(diagnosis).toMatchObject({ part: "disk", ...expected });
  expect(diagnosis.warning === true || !diagnosis.ok).toBe(diagnosis.advice !== undefined);
});

test("the database's own word counts; if it has none, the folders of this host", async () => {
  const full = { disk: () => Promise.resolve({ freeBytes: gb / 100, totalBytes: gb }) };
  expect(await diagnoseDisk(full, [])).toMatchObject([{ ok: false }]);
  const silent = { disk: () => Promise.resolve(undefined) };
  expect(await diagnoseDisk(silent, [])).toMatchObject([{ ok: true, unknown: true }]);
  const [here, ...others] = await diagnoseDisk(silent, [tmpdir(), "/no/such/folder"]);
  expect(here?.found).toMatch(/: [\d.]+ [MG]B free of [\d.]+ [MG]B$/);
  expect(others).toMatchObject([{ warning: true, found: "/no/such/folder cannot be checked" }]);
});

test.each([
  [0, { ok: true }],
  [1_500, { ok: true }],
  [-30_000, { ok: true, warning: true, found: "this host is 30s behind the database" }],
  [300_000, { ok: false, found: "this host is 5m ahead of the database" }],
])("a host whose clock is %d ms off is reported", (offMs, expected) => {
  const now = new Date("2026-02-01T00:00:00Z");
  const clock = { now: () => now, monotonicMs: () => 0, errorMs: () => 5 };
  const diagnosis = diagnoseClock(clock, new Date(now.getTime() + offMs));
  expect(diagnosis).toMatchObject({ part: "clock", ...expected });
});
