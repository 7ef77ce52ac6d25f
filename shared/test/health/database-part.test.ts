import { expect, it, onTestFinished, vi } from "vitest";
import { watchDatabase } from "../../src/health/database-part.ts";

/** A database that answers as it is told, and a clock that is turned by hand. */
function watched() {
  let nowMs = 0;
  let answer: () => Promise<void> = () => Promise.resolve();
  const ping = vi.fn(() => answer());
  const timing = { askEvery: 5, awayAfter: 5_000 };
  const part = watchDatabase({ ping }, { monotonicMs: () => nowMs }, timing);
  onTestFinished(() => part.close?.());
  return {
    part,
    ping,
    pass: (ms: number) => (nowMs += ms),
    answer: (given: () => Promise<void>) => (answer = given),
  };
}

it("is away after five seconds without an answer, and back with the next one", async () => {
  const { part, ping, pass, answer } = watched();
  await vi.waitFor(() => expect(ping).toHaveBeenCalled());
  answer(() => Promise.reject(new Error("connect ECONNREFUSED")));
  const before = ping.mock.calls.length;
  await vi.waitFor(() => expect(ping.mock.calls.length).toBeGreaterThan(before + 2));
  expect(part.whyNot()).toBeUndefined();
  pass(7_000);
  expect(part.whyNot()).toBe("no answer for 7 s: connect ECONNREFUSED");
  answer(() => Promise.resolve());
  await vi.waitFor(() => expect(part.whyNot()).toBeUndefined());
});

it("is also away if an answer hangs; asking about it does not query it", async () => {
  const { part, ping, pass, answer } = watched();
  answer(() => new Promise(() => undefined));
  await vi.waitFor(() => expect(ping).toHaveBeenCalled());
  const before = ping.mock.calls.length;
  pass(6_000);
  for (let n = 0; n < 1_000; n += 1) expect(part.whyNot()).toBe("no answer for 6 s");
  expect(ping.mock.calls.length).toBeLessThanOrEqual(before + 1);
});
