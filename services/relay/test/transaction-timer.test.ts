import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { TransactionTimer } from "../src/transaction-timer.ts";

const timeouts = {
  connectMs: 1,
  greetingMs: 1,
  mailMs: 5_000,
  rcptMs: 4_000,
  dataMs: 2_000,
  blockMs: 3_000,
  finalMs: 6_000,
};

describe("TransactionTimer", () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => {
    expect(vi.getTimerCount()).toBe(0);
    vi.useRealTimers();
  });

  /** The time at which the timer ends it, if nothing happens after `steps`, one each second. */
  function endOf(recipients: number, steps: ("reply" | "block" | "last block")[]) {
    const ends: { why: string; afterMs: number }[] = [];
    const timer = new TransactionTimer(timeouts, recipients, (why) =>
      ends.push({ why, afterMs: performance.now() - lastMs }),
    );
    let lastMs = performance.now();
    for (const step of steps) {
      vi.advanceTimersByTime(1_000);
      expect(ends).toEqual([]);
      lastMs = performance.now();
      if (step === "reply") timer.onReply();
      else timer.onBody(step === "last block");
    }
    vi.advanceTimersByTime(60_000);
    expect(ends).toHaveLength(1);
    return ends[0];
  }

  it.each([
    [1, [], "no answer to MAIL within 5 s", 5_000],
    [2, ["reply"], "no answer to RCPT within 4 s", 4_000],
    [2, ["reply", "reply"], "no answer to RCPT within 4 s", 4_000],
    [2, ["reply", "reply", "reply"], "no answer to DATA within 2 s", 2_000],
    [1, ["reply", "reply", "reply"], "no answer to a piece of the mail within 3 s", 3_000],
    [
      1,
      ["reply", "reply", "reply", "block", "block"],
      "no answer to a piece of the mail within 3 s",
      3_000,
    ],
    [
      1,
      ["reply", "reply", "reply", "block", "last block"],
      "no answer to the end of the mail within 6 s",
      6_000,
    ],
  ] as const)("gives each step its whole time: %i recipients, %j", (recipients, steps, why, ms) => {
    expect(endOf(recipients, [...steps])).toEqual({ why, afterMs: ms });
  });

  it("ends nothing once it is stopped", () => {
    const onTimeout = vi.fn();
    const timer = new TransactionTimer(timeouts, 1, onTimeout);
    timer.onReply();
    timer.stop();
    vi.advanceTimersByTime(60_000);
    expect(onTimeout).not.toHaveBeenCalled();
  });
});
