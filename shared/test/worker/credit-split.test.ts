import fc from "fast-check";
import { expect, test } from "vitest";
import { splitCredit } from "../../src/worker/credit-split.ts";

test("a single dispatcher has it all", () => {
  expect(splitCredit({ tasks: 8, bytes: 100 }, [{ busy: false }])).toEqual([
    { tasks: 8, bytes: 100 },
  ]);
});

test("an idle dispatcher keeps one task to begin with, the busy ones share the rest", () => {
  const shares = splitCredit({ tasks: 9, bytes: 900 }, [
    { busy: true },
    { busy: false },
    { busy: true },
  ]);
  expect(shares.map(({ tasks }) => tasks)).toEqual([4, 1, 4]);
  expect(shares.map(({ bytes }) => bytes)).toEqual([400, 100, 400]);
});

test("a worker that takes nothing grants nothing", () => {
  expect(splitCredit({ tasks: 0, bytes: 100 }, [{ busy: true }])).toEqual([{ tasks: 0, bytes: 0 }]);
});

test("the shares are never more than there is, except for one task each (I7)", () => {
  const total = fc.record({ tasks: fc.integer({ min: 1, max: 500 }), bytes: fc.nat(1e9) });
  const dispatchers = fc.array(fc.record({ busy: fc.boolean() }), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(total, dispatchers, (all, sharing) => {
      const shares = splitCredit(all, sharing);
      const sum = shares.reduce((so, { tasks }) => so + tasks, 0);
      expect(sum).toBeLessThanOrEqual(Math.max(all.tasks, sharing.length));
      expect(shares.reduce((so, { bytes }) => so + bytes, 0)).toBeLessThanOrEqual(all.bytes);
      for (const { tasks } of shares) expect(tasks).toBeGreaterThanOrEqual(1);
      if (all.tasks >= sharing.length) expect(sum).toBe(all.tasks);
    }),
  );
});
