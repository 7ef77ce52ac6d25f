import { expect, test } from "vitest";
import { RefusalLog } from "../../src/bus/refusal-log.ts";
import { systemClock } from "../../src/clock.ts";
import { createMemoryLog } from "./pool-and-worker.ts";

function openLog() {
  let nowMs = 0;
  const { log, lines } = createMemoryLog();
  const refusals = new RefusalLog({ ...systemClock, monotonicMs: () => nowMs }, log);
  return { refusals, lines, pass: (ms: number) => (nowMs += ms) };
}

test("the same refusal is logged once per minute, and says how many there were", () => {
  const { refusals, lines, pass } = openLog();
  for (let at = 0; at < 600; at += 1) {
    refusals.tell("a", { publicKey: "a" }, "peer refused");
    pass(200);
  }
  expect(lines.map(({ refusals: count }) => count)).toEqual([1, 301]);
  expect(refusals.count).toBe(600);
});

test("refusals that are all different get 20 lines per minute", () => {
  const { refusals, lines, pass } = openLog();
  for (let at = 0; at < 5_000; at += 1) refusals.tell(String(at), {}, "peer refused");
  expect(lines).toHaveLength(20);
  pass(60_000);
  refusals.tell("0", {}, "peer refused");
  expect(lines.at(-1)).toMatchObject({ refusals: 5_001 });
});
