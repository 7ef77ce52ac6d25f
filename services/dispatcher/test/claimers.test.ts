import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { describe, expect, it, vi } from "vitest";
import { createClaimer, type Wanted } from "../src/claimers.ts";

const log = createSilentLogger();

describe("a claimer", () => {
  it("claims again immediately while rounds come back full, and stops at one that does not", async () => {
    const found = [10, 10, 3];
    const limits: number[] = [];
    const claimer = createClaimer({
      room: () => 50,
      batch: 10,
      log,
      claim: ({ limit }) => {
        limits.push(limit);
        return Promise.resolve(found.shift() ?? 0);
      },
    });
    claimer.poke();
    await vi.waitFor(() => expect(limits).toEqual([10, 10, 10]));
    await claimer.stop();
    expect(limits).toHaveLength(3);
  });

  it("I7: claims no more than there is room for, and nothing without room", async () => {
    const limits: number[] = [];
    let room = 0;
    const claimer = createClaimer({
      room: () => room,
      batch: 10,
      log,
      claim: ({ limit }) => {
        limits.push(limit);
        return Promise.resolve(0);
      },
    });
    claimer.poke();
    await claimer.stop();
    expect(limits).toEqual([]);
    room = 4;
    const second = createClaimer({
      room: () => room,
      batch: 10,
      log,
      claim: ({ limit }) => Promise.resolve(limits.push(limit) * 0),
    });
    second.poke();
    await vi.waitFor(() => expect(limits).toEqual([4]));
    await second.stop();
  });

  it("asks again when room comes back after a full round or none at all, and else for no reason", async () => {
    const found = [4, 1];
    const limits: number[] = [];
    let room = 4;
    const claimer = createClaimer({
      room: () => room,
      batch: 10,
      log,
      claim: ({ limit }) => {
        limits.push(limit);
        room = 0;
        return Promise.resolve(found.shift() ?? 0);
      },
    });
    claimer.onRoom();
    claimer.poke();
    await vi.waitFor(() => expect(limits).toEqual([4]));
    room = 3;
    claimer.onRoom();
    await vi.waitFor(() => expect(limits).toEqual([4, 3]));
    room = 3;
    claimer.onRoom();
    claimer.poke();
    await vi.waitFor(() => expect(limits).toEqual([4, 3, 3]));
    await claimer.stop();
    expect(limits).toHaveLength(3);
  });

  it("claims by name what hints have named, the oldest once there is more than room, and then no more", async () => {
    const asked: Wanted[] = [];
    let room = 2;
    const claimer = createClaimer({
      room: () => room,
      batch: 10,
      log,
      claim: (wanted) => {
        asked.push(wanted);
        return Promise.resolve(wanted.only?.length ?? 0);
      },
    });
    claimer.poke("a");
    claimer.poke("b");
    await vi.waitFor(() => expect(asked).toHaveLength(2));
    expect(asked).toEqual([
      { limit: 1, only: ["a"] },
      { limit: 1, only: ["b"] },
    ]);
    room = 0;
    for (const mailId of ["c", "d", "e"]) claimer.poke(mailId);
    room = 2;
    claimer.onRoom();
    await vi.waitFor(() => expect(asked).toHaveLength(3));
    expect(asked.at(-1)).toEqual({ limit: 2 });
    claimer.poke("f");
    claimer.poke();
    await vi.waitFor(() => expect(asked).toHaveLength(5));
    expect(asked.slice(3)).toEqual([{ limit: 1, only: ["f"] }, { limit: 2 }]);
    await claimer.stop();
  });

  it("runs one round at a time however often it is poked, and does not miss a poke", async () => {
    let running = 0;
    let most = 0;
    let rounds = 0;
    const claimer = createClaimer({
      room: () => 10,
      batch: 10,
      log,
      claim: async () => {
        running += 1;
        most = Math.max(most, running);
        await new Promise((resolve) => setImmediate(resolve));
        running -= 1;
        rounds += 1;
        return 0;
      },
    });
    for (let n = 0; n < 50; n += 1) claimer.poke();
    await vi.waitFor(() => expect(rounds).toBeGreaterThanOrEqual(2));
    expect(most).toBe(1);
    await claimer.stop();
  });

  it("survives a failing claim: the next poke tries again", async () => {
    let calls = 0;
    const claimer = createClaimer({
      room: () => 1,
      batch: 1,
      log,
      claim: () => {
        calls += 1;
        return calls === 1 ? Promise.reject(new Error("database away")) : Promise.resolve(0);
      },
    });
    claimer.poke();
    await vi.waitFor(() => expect(calls).toBe(1));
    await vi.waitFor(() => {
      claimer.poke();
      expect(calls).toBeGreaterThanOrEqual(2);
    });
    await claimer.stop();
  });
});
