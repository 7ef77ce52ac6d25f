import { expect, test } from "vitest";
import { atOnce, inSlices, type Steps } from "../src/slices.ts";

/** Each step takes longer than a slice. */
function* longSteps(count: number): Steps<number> {
  for (let n = 0; n < count; n += 1) {
    const until = performance.now() + 10;
    while (performance.now() < until);
    yield;
  }
  return count;
}

/** How often others get a turn while this runs. */
async function turnsDuring(work: () => Promise<unknown>): Promise<number> {
  let turns = 0;
  let turn = setImmediate(function again() {
    turns += 1;
    turn = setImmediate(again);
  });
  await work();
  clearImmediate(turn);
  return turns;
}

test("long work in slices leaves others a turn after each of them", async () => {
  const turns = await turnsDuring(async () => expect(await inSlices(longSteps(5))).toBe(5));
  expect(turns).toBeGreaterThanOrEqual(5);
});

test("all steps at once come to the same, and nobody else gets a turn", async () => {
  const turns = await turnsDuring(() => {
    expect(atOnce(longSteps(3))).toBe(3);
    return Promise.resolve();
  });
  expect(turns).toBe(0);
});

test("what a step throws ends the work", async () => {
  function* failing(): Steps<never> {
    yield;
    throw new Error("no");
  }
  await expect(inSlices(failing())).rejects.toThrow("no");
  expect(() => atOnce(failing())).toThrow("no");
});
