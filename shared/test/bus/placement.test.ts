import fc from "fast-check";
import { expect, test } from "vitest";
import {
  bigFrameBytes,
  chooseToKeep,
  chooseWorker,
  fits,
  freeCredit,
  type Placeable,
} from "../../src/bus/placement.ts";

function worker(parts: Partial<Placeable> = {}): Placeable {
  return {
    takesTasks: true,
    grant: { tasks: 4, bytes: 1_000 },
    outstanding: { tasks: 0, bytes: 0 },
    bigFrameOut: false,
    aloneOut: false,
    placedAtMs: -Infinity,
    kept: false,
    isSole: false,
    spools: [],
    ...parts,
  };
}

const small = { bytes: 100, spoolId: undefined, alone: false };

test("the worker with the most free tasks gets the next one", () => {
  const busy = worker({ outstanding: { tasks: 2, bytes: 10 } });
  const free = worker({ outstanding: { tasks: 1, bytes: 900 } });
  expect(chooseWorker([busy, free], small)).toBe(free);
});

test("of equal workers it is the one that has waited longest", () => {
  const workers = [5, 3, 4].map((placedAtMs) => worker({ placedAtMs }));
  expect(chooseWorker(workers, small)).toBe(workers[1]);
  const fresh = worker();
  expect(chooseWorker([...workers, fresh], small)).toBe(fresh);
});

test("an idle worker takes one task of any size, a busy one only what its credit holds", () => {
  const huge = { ...small, bytes: 5_000_000 };
  expect(fits(worker(), huge)).toBe(true);
  expect(fits(worker({ outstanding: { tasks: 1, bytes: 5 } }), huge)).toBe(false);
  expect(fits(worker({ grant: { tasks: 0, bytes: 0 } }), huge)).toBe(false);
});

test("a second frame above 1 MB waits until the first is acknowledged", () => {
  const grant = { tasks: 4, bytes: 10 * bigFrameBytes };
  const waiting = worker({ grant, outstanding: { tasks: 1, bytes: 1 }, bigFrameOut: true });
  expect(fits(waiting, { ...small, bytes: bigFrameBytes + 1 })).toBe(false);
  expect(fits(waiting, { ...small, bytes: bigFrameBytes })).toBe(true);
});

test("disk-mode tasks go only to workers that see the spool", () => {
  const sees = worker({ spools: ["s1"] });
  const wish = { bytes: 0, spoolId: "s1", alone: false };
  expect(chooseWorker([worker(), worker({ spools: ["s2"] }), sees], wish)).toBe(sees);
  expect(chooseWorker([worker()], wish)).toBeUndefined();
});

test("a task that must be alone goes to an idle worker that is ours alone, and nothing joins it", () => {
  const busy = worker({ outstanding: { tasks: 1, bytes: 1 }, isSole: true });
  const idle = worker({ isSole: true });
  const alone = { ...small, alone: true };
  expect(chooseWorker([busy, idle], alone)).toBe(idle);
  expect(chooseWorker([busy, worker()], alone)).toBeUndefined();
  expect(fits(worker({ outstanding: { tasks: 1, bytes: 1 }, aloneOut: true }), small)).toBe(false);
});

test("if no worker is free for it, one is reserved, which gets nothing else", () => {
  const alone = { ...small, alone: true };
  const busy = worker({ outstanding: { tasks: 2, bytes: 2 } });
  const less = worker({ outstanding: { tasks: 1, bytes: 1 } });
  expect(chooseToKeep([busy, less], alone)).toBe(less);
  const kept = worker({ outstanding: { tasks: 3, bytes: 3 }, kept: true });
  expect(chooseToKeep([busy, less, kept], alone)).toBe(kept);
  expect(fits(kept, small)).toBe(false);
  expect(freeCredit(kept).tasks).toBe(0);
  const emptied = { ...kept, outstanding: { tasks: 0, bytes: 0 } };
  expect(fits({ ...emptied, isSole: true }, small)).toBe(false);
  expect(fits({ ...emptied, isSole: true }, alone)).toBe(true);
  expect(fits(emptied, alone)).toBe(false);
  const elsewhere = { ...alone, spoolId: "s1" };
  expect(chooseToKeep([busy, worker({ aloneOut: true })], elsewhere)).toBeUndefined();
  const unable = worker({ grant: { tasks: 0, bytes: 0 } });
  expect(chooseToKeep([unable, busy], alone)).toBe(busy);
});

test("whatever is placed and answered, no worker has more out than it granted (I7)", () => {
  const credit = fc.record({ tasks: fc.nat(5), bytes: fc.nat(3_000) });
  const step = fc.oneof(
    fc.record({ kind: fc.constant("place" as const), bytes: fc.nat(2_000) }),
    fc.record({ kind: fc.constant("answer" as const), at: fc.nat(20) }),
  );
  fc.assert(
    fc.property(
      fc.array(credit, { minLength: 1, maxLength: 4 }),
      fc.array(step, { maxLength: 60 }),
      (grants, steps) => {
        const workers = grants.map((grant) => worker({ grant }));
        const out: { at: Placeable; bytes: number }[] = [];
        for (const each of steps) {
          if (each.kind === "place") {
            const at = chooseWorker(workers, { ...small, bytes: each.bytes });
            if (at === undefined) continue;
            at.outstanding.tasks += 1;
            at.outstanding.bytes += each.bytes;
            out.push({ at, bytes: each.bytes });
          } else {
            const [answered] = out.splice(each.at % (out.length || 1), 1);
            if (answered === undefined) continue;
            answered.at.outstanding.tasks -= 1;
            answered.at.outstanding.bytes -= answered.bytes;
          }
          for (const { grant, outstanding } of workers) {
            expect(outstanding.tasks).toBeLessThanOrEqual(grant.tasks);
            if (outstanding.tasks > 1)
              expect(outstanding.bytes).toBeLessThanOrEqual(oneHuge(grant));
          }
        }
      },
    ),
  );

  /**
   * The grant; or for an idle worker one task of any size, after which it takes nothing with bytes.
   */
  function oneHuge(grant: { bytes: number }): number {
    return Math.max(grant.bytes, 2_000);
  }
});
