import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { RetryableError } from "../../src/errors.ts";
import { createSilentLogger } from "../../src/logger.ts";
import { AloneLane, laneTiming } from "../../src/store/alone-lane.ts";
import { newMail } from "../../../test/support/new-mail.ts";
import { Holding } from "../../src/store/holding.ts";

beforeEach(() => vi.useFakeTimers());
afterEach(() => vi.useRealTimers());

const wanted = { states: ["incoming"] as const, owner: "me", leaseMs: 60_000 };

/**
 * A lane with suspects that are worked on until the test says so; records what happens, in order.
 */
function bench(suspects: number, { onClaim }: { onClaim?: () => void } = {}) {
  const events: string[] = [];
  const ends: (() => void)[] = [];
  const state = { inHand: 0, isAway: false };
  const isAway = () => {
    if (state.isAway) throw new RetryableError("STORE_UNREACHABLE", "away");
  };
  let left = suspects;
  const lane = new AloneLane({
    mails: {
      suspectWaits: () => Promise.resolve(left > 0),
      async claimSuspect({ token }) {
        await Promise.resolve();
        if (left === 0) return undefined;
        onClaim?.();
        left -= 1;
        events.push("claim");
        const mail = newMail();
        return { mail, holding: new Holding(mail, token), validUntilMs: Infinity };
      },
      async livedThrough() {
        await Promise.resolve();
        isAway();
        events.push("lived");
      },
    },
    clock: { monotonicMs: () => Date.now() },
    log: createSilentLogger(),
    wanted: () => wanted,
    inHand: () => state.inHand,
    begin: () => {
      events.push("begin");
      return new Promise((resolve) => ends.push(resolve));
    },
    onOpen: () => events.push("open"),
  });
  const run = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 500) {
      lane.tick().catch((error: unknown) => events.push(String(error)));
      await vi.advanceTimersByTimeAsync(500);
    }
  };
  const endOne = () => ends.shift()?.();
  return { lane, events, state, run, endOne };
}

describe("the lane of suspects", () => {
  it("is not entered by a service that has just begun", async () => {
    const { events, run } = bench(1);
    await run(laneTiming.afterStart - 500);
    expect(events).toEqual([]);
    await run(1_000);
    expect(events).toEqual(["claim", "begin"]);
  });

  it("lets nothing else be claimed while a suspect is in hand, and one suspect at a time", async () => {
    const { lane, events, run, endOne } = bench(2);
    await run(6_000);
    expect(lane.isOpen).toBe(false);
    const claim = vi.fn(() => Promise.resolve(1));
    expect(await lane.among(claim)).toBe(0);
    expect(claim).not.toHaveBeenCalled();
    expect(events).toEqual(["claim", "begin"]);
    endOne();
    await run(500);
    expect(events).toEqual(["claim", "begin", "lived", "claim", "begin"]);
    endOne();
    await run(500);
    expect(events.slice(5)).toEqual(["lived", "open"]);
    expect(await lane.among(claim)).toBe(1);
  });

  it("waits until nothing else is in hand, or was begun lately, and no claim is under way", async () => {
    const { lane, events, state, run } = bench(1);
    const answered = Promise.withResolvers<number>();
    const claimed = lane.among(() => answered.promise);
    await run(30_000);
    expect(events).toEqual([]);
    state.inHand = 1;
    answered.resolve(1);
    await claimed;
    await run(laneTiming.quiet - 1_000);
    expect(events).toEqual([]);
    await run(2_000);
    expect(events).toEqual(["claim", "begin"]);
  });

  it("opens to others when its time is over, though a suspect is still worked on", async () => {
    const { lane, events, run } = bench(9);
    await run(6_000 + laneTiming.alone);
    expect(events).toEqual(["claim", "begin", "lived", "open"]);
    expect(lane.isOpen).toBe(true);
    await run(laneTiming.alone - 1_000);
    expect(lane.isOpen).toBe(true);
    await run(4_000);
    expect(events.slice(4)).toEqual(["claim", "begin"]);
  });

  it("stays closed until the note is taken back, however long the database is away", async () => {
    const { lane, events, state, run, endOne } = bench(1);
    await run(6_000);
    state.isAway = true;
    endOne();
    await run(120_000);
    expect(lane.isOpen).toBe(false);
    state.isAway = false;
    await run(5_000);
    expect(events).toEqual(["claim", "begin", "lived", "open"]);
  });

  it("takes back the note of a claim that was perhaps made", async () => {
    let isLost = true;
    const { lane, events, state, run } = bench(1, {
      onClaim: () => {
        if (!isLost) return;
        isLost = false;
        state.isAway = true;
        throw new RetryableError("STORE_UNREACHABLE", "the answer is lost");
      },
    });
    await run(20_000);
    expect(events).toEqual([]);
    expect(lane.isOpen).toBe(false);
    state.isAway = false;
    await run(3_000);
    expect(events).toEqual(["lived", "open"]);
  });

  it("ends immediately with its service, and says that it lived", async () => {
    const { lane, events, run } = bench(1);
    await run(6_000);
    await lane.stop();
    await run(30_000);
    expect(events).toEqual(["claim", "begin", "lived"]);
    expect(lane.isOpen).toBe(false);
  });
});
