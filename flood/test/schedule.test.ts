import { describe, expect, it } from "vitest";
import { createSchedule, parseRate } from "../src/pace/schedule.ts";

describe("a schedule", () => {
  it("has one mail per so many milliseconds, the first immediately", () => {
    const schedule = createSchedule(parseRate("50", 2_000));
    expect(schedule).toMatchObject({ mails: 100, totalMs: 2_000 });
    expect([0, 1, 99].map((nth) => schedule.atMs(nth))).toEqual([0, 20, 1_980]);
    expect([0, 19.9, 20, 5_000].map((ms) => schedule.dueBy(ms))).toEqual([1, 1, 2, 100]);
  });

  it("goes from stage to stage", () => {
    const schedule = createSchedule(parseRate("10:1s,100:2s,0:1s,10:1s", 0));
    expect(schedule).toMatchObject({ mails: 220, totalMs: 5_000 });
    expect(schedule.atMs(10)).toBeCloseTo(1_000);
    expect(schedule.atMs(209)).toBeCloseTo(2_990);
    expect(schedule.atMs(210)).toBeCloseTo(4_000);
    expect(schedule.dueBy(3_500)).toBe(211);
  });

  it("climbs in a ramp: each instant is when that many mails are due", () => {
    const schedule = createSchedule(parseRate("10-200:60s", 0));
    expect(schedule.mails).toBe(6_300);
    for (const nth of [0, 1, 500, 3_000, 6_299]) {
      const atMs = schedule.atMs(nth);
      expect(schedule.dueBy(atMs + 0.01)).toBe(nth + 1);
      if (nth > 0) expect(schedule.dueBy(atMs - 0.01)).toBe(nth);
    }
  });

  it("ends after a number of mails, or after a time", () => {
    const stages = parseRate("10:10s", 0);
    expect(createSchedule(stages, { most: 25 })).toMatchObject({ mails: 25, totalMs: 2_500 });
    expect(createSchedule(stages, { mostMs: 3_000 })).toMatchObject({ mails: 30, totalMs: 3_000 });
  });

  it.each(["", "ten", "10:20", "10,20:1s", "10:1s:2", "1-2-3:1s", "-1", "1000000000"])(
    "refuses %j",
    (text) => {
      expect(() => parseRate(text, 1_000)).toThrow("--rate");
    },
  );
});
