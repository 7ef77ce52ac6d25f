import { beforeEach, describe, expect, it } from "vitest";
import { createTimerCatches, type TimerCatches } from "../../src/store/timer-catches.ts";

const clock = { ms: 0, now: () => new Date(clock.ms), monotonicMs: () => clock.ms };
let catches: TimerCatches;
beforeEach(() => {
  clock.ms = 1_000;
  catches = createTimerCatches(clock);
});

/** The count when nothing more can come. */
function settled(): number {
  clock.ms += 10_000;
  return catches.count;
}

describe("what only the timer caught (I6)", () => {
  it("is not what the stream reported before the claim or shortly after", () => {
    catches.onHint({ mailId: "before" });
    catches.onClaimed("before", clock.now());
    catches.onClaimed("after", clock.now());
    clock.ms += 2_000;
    expect(catches.count).toBe(0);
    catches.onHint({ mailId: "after" });
    expect(settled()).toBe(0);
  });

  it("is each mail that was not reported in time, once", () => {
    catches.onClaimed("one", clock.now());
    catches.onClaimed("two", clock.now());
    clock.ms += 5_000;
    catches.onHint({ mailId: "one" });
    catches.onClaimed("two", clock.now());
    expect(settled()).toBe(2);
  });

  it("is not what waited before the start", () => {
    catches.onClaimed("old", new Date(999));
    expect(settled()).toBe(0);
  });

  it("is not a mail that comes again", () => {
    catches.onHint({ mailId: "back" });
    for (let claim = 0; claim < 3; claim++) {
      catches.onClaimed("back", clock.now());
      clock.ms += 20_000;
    }
    expect(settled()).toBe(0);
  });

  it("is remembered within bounds: what is claimed stays known longest", () => {
    catches.onHint({ mailId: "back" });
    for (let told = 0; told < 60_000; told++) {
      if (told % 40_000 === 0) catches.onClaimed("back", clock.now());
      catches.onHint({ mailId: `mail ${told}` });
    }
    catches.onClaimed("back", clock.now());
    catches.onClaimed("mail 59999", clock.now());
    catches.onClaimed("mail 0", clock.now());
    expect(settled()).toBe(1);
  });
});
