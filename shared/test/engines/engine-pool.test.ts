import { setImmediate as turn } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { systemClock } from "../../src/clock.ts";
import type { EngineState, Unable } from "../../src/engines/engine-client.ts";
import {
  EnginePool,
  type EnginePoolOptions,
  type PoolAskOptions,
} from "../../src/engines/engine-pool.ts";
import { createSilentLogger } from "../../src/logger.ts";
import { died, failed, FakeClient, found, late, unreached, type Finding } from "./fake-client.ts";

const never = new AbortController().signal;
const unable: Unable = { kind: "unable", reason: "its canaries are unwell" };
const pools: EnginePool<string, Finding>[] = [];
let one: FakeClient;
let two: FakeClient;

beforeEach(() => {
  one = new FakeClient("one");
  two = new FakeClient("two");
});

afterEach(() => {
  for (const pool of pools.splice(0)) pool.close();
  vi.useRealTimers();
});

function poolOf(clients: readonly FakeClient[], options: Partial<EnginePoolOptions> = {}) {
  const deps = { clock: systemClock, log: createSilentLogger() };
  const times = { placesEach: 2, recheckMs: 10, recoveryWaitMs: 200, ...options };
  const pool = new EnginePool(clients, times, deps);
  pools.push(pool);
  return pool;
}

async function ablePool(clients: readonly FakeClient[], options: Partial<EnginePoolOptions> = {}) {
  const pool = poolOf(clients, options);
  await pool.check(never);
  return pool;
}

function ask(
  pool: EnginePool<string, Finding>,
  question: string,
  limits: Partial<PoolAskOptions> = {},
) {
  const signal = never;
  return pool.ask(question, { signal, timeoutMs: 5_000, accountMs: 1_000, ...limits });
}

const questionsOf = ({ asked }: FakeClient) => asked.map(({ question }) => question);

describe("a pool of engines", () => {
  it("takes nothing before the canaries have passed, and names the engine that answers", async () => {
    const pool = poolOf([one, two]);
    expect([pool.concurrency(), pool.grant()]).toEqual([0, 0]);
    expect(pool.reasons()).toBe("one: not asked yet; two: not asked yet");
    expect(await pool.canary(never)).toEqual({
      able: true,
      engine: { name: "fake", version: "one" },
    });
    expect(pool.concurrency()).toBe(4);
    one.script = () => found;
    expect(await ask(pool, "a")).toEqual({
      finding: { kind: "found" },
      engine: { name: "fake", version: "one" },
      address: "one",
    });
  });

  it("is able while one engine is, and says what that one is blind to", async () => {
    one.canaries = () => unable;
    two.canaries = () => ({ ...two.able, blind: ["encrypted"] }) as EngineState;
    const pool = poolOf([one, two]);
    expect(await pool.canary(never)).toMatchObject({ able: true, blind: ["encrypted"] });
    expect(await ask(pool, "a")).toMatchObject({ address: "two", blind: ["encrypted"] });
    two.canaries = () => unable;
    expect(await pool.canary(never)).toEqual({
      able: false,
      reason: "one: its canaries are unwell; two: its canaries are unwell",
    });
  });

  it("does not wait longer for canaries than it is told to", async () => {
    one.canaries = () => new Promise(() => undefined);
    const pool = poolOf([one, two]);
    const states = await pool.check(AbortSignal.timeout(20));
    expect(states).toMatchObject([{ kind: "unable" }, { kind: "able" }]);
  });

  it("shares questions out by load, and lets more of them wait than it has places", async () => {
    one.script = two.script = () => undefined;
    const pool = await ablePool([one, two]);
    const answers = ["a", "b", "c", "d", "e"].map((question) => ask(pool, question));
    expect([questionsOf(one), questionsOf(two)]).toEqual([
      ["a", "c"],
      ["b", "d"],
    ]);
    two.asked[1]?.answer(found);
    await vi.waitFor(() => expect(questionsOf(two)).toEqual(["b", "d", "e"]));
    for (const { answer } of [...one.asked, ...two.asked]) answer(found);
    for (const { finding } of await Promise.all(answers)) expect(finding.kind).toBe("found");
  });

  it("answers busy if every place stays taken until the deadline", async () => {
    one.script = () => undefined;
    const pool = await ablePool([one], { placesEach: 1 });
    const holding = ask(pool, "holds");
    const { finding, ...about } = await ask(pool, "waits", { timeoutMs: 30 });
    expect(finding).toMatchObject({ kind: "unchecked", reason: "busy" });
    expect(about).toEqual({});
    one.asked[0]?.answer(found);
    expect((await holding).finding.kind).toBe("found");
    expect(questionsOf(one)).toEqual(["holds"]);
  });

  it("I7: lets a thousand wait, and answers one more busy immediately", async () => {
    one.script = () => undefined;
    const pool = await ablePool([one], { placesEach: 1 });
    const asked = Array.from({ length: 1_001 }, (_, n) => ask(pool, String(n)));
    const { finding } = await ask(pool, "one more");
    expect(finding).toMatchObject({ reason: "busy" });
    one.script = () => found;
    one.asked[0]?.answer(found);
    expect((await Promise.all(asked)).every((answer) => answer.finding.kind === "found")).toBe(
      true,
    );
  });

  it("gives the rest of the time to the engine, not more", async () => {
    const pool = await ablePool([one]);
    await ask(pool, "a", { timeoutMs: 77 });
    expect(one.asked[0]?.timeoutMs).toBeGreaterThan(0);
    expect(one.asked[0]?.timeoutMs).toBeLessThanOrEqual(77);
  });

  it("gives a question up when its signal aborts: time-out, no strike, and no doubt about the engine", async () => {
    one.script = () => undefined;
    const pool = await ablePool([one]);
    const given = new AbortController();
    const answer = ask(pool, "a", { signal: given.signal });
    given.abort(new Error("cancelled"));
    const { finding, ...about } = await answer;
    expect(finding).toMatchObject({ kind: "unchecked", reason: "time-out" });
    expect(about).not.toHaveProperty("strikes");
    expect([pool.concurrency(), one.looks]).toEqual([2, 1]);
  });

  it("asks each able engine when told to, in addition to its other work", async () => {
    one.script = () => undefined;
    two.script = () => failed("engine-error");
    const pool = await ablePool([one, two, new FakeClient("three")], { placesEach: 1 });
    const busy = ask(pool, "a");
    const each = pool.askEach("b", never);
    expect(one.asked.map(({ alone }) => alone)).toEqual([false, true]);
    for (const { answer } of one.asked) answer(found);
    expect((await each).map(({ kind }) => kind)).toEqual(["found", "unchecked", "passed"]);
    await busy;
    expect(pool.concurrency()).toBe(3);
  });

  it("answers nothing after its close", async () => {
    const pool = await ablePool([one], { recoveryWaitMs: 60_000 });
    one.canaries = () => unable;
    one.leaveOut({ kind: "unable", reason: "gone" });
    const waiting = ask(pool, "a");
    pool.close();
    expect((await waiting).finding).toMatchObject({ reason: "engine-away" });
    expect([one.isClosed, pool.grant()]).toEqual([true, 0]);
  });
});

describe("an engine that is left out", () => {
  it("stays out until its canaries pass again; others get its work", async () => {
    const pool = await ablePool([one, two]);
    one.canaries = () => unable;
    one.leaveOut({ kind: "unable", reason: "it hangs" });
    expect(pool.reasons()).toBe("one: it hangs");
    for (const question of ["a", "b", "c"]) await ask(pool, question);
    expect([questionsOf(one), questionsOf(two)]).toEqual([[], ["a", "b", "c"]]);
    await vi.waitFor(() => expect(pool.reasons()).toBe("one: its canaries are unwell"));
    one.canaries = () => one.able;
    await vi.waitFor(() => expect(pool.concurrency()).toBe(4));
    expect(pool.reasons()).toBe("");
  });

  it("is checked immediately, then after a time that doubles up to a limit", async () => {
    const pool = await ablePool([one], { recheckMs: 250, recheckMaxMs: 1_000 });
    vi.useFakeTimers();
    one.canaries = () => unable;
    one.leaveOut({ kind: "unable", reason: "gone" });
    const looksAfter = async (ms: number) => {
      await vi.advanceTimersByTimeAsync(ms);
      return one.looks;
    };
    expect(await looksAfter(0)).toBe(2);
    for (const delayMs of [250, 500, 1_000, 1_000]) {
      const before = one.looks;
      expect(await looksAfter(delayMs - 1)).toBe(before);
      expect(await looksAfter(1)).toBe(before + 1);
    }
    one.canaries = () => one.able;
    await looksAfter(1_000);
    const { looks } = one;
    expect(await looksAfter(60_000)).toBe(looks);
    expect(pool.concurrency()).toBe(2);
  });

  it("is checked again if the canaries of a worker's timer find it unwell", async () => {
    const pool = await ablePool([one]);
    one.canaries = () => unable;
    expect(await pool.canary(never)).toMatchObject({ able: false });
    one.canaries = () => one.able;
    await vi.waitFor(() => expect(pool.concurrency()).toBe(2));
  });

  it("is not taken back because of canaries that passed before it failed", async () => {
    const pool = await ablePool([one]);
    const early = Promise.withResolvers<EngineState>();
    one.canaries = () => early.promise;
    const check = pool.check(never);
    one.leaveOut({ kind: "unable", reason: "gone" });
    one.canaries = () => unable;
    early.resolve(one.able);
    expect(await check).toMatchObject([{ kind: "unable" }]);
    await vi.waitFor(() => expect(pool.reasons()).toBe("one: its canaries are unwell"));
  });

  it("lets a question wait for its return for a while; then the answer is engine-away, with each reason", async () => {
    one.canaries = () => unable;
    const pool = await ablePool([one]);
    const { finding } = await ask(pool, "a", { timeoutMs: 600_000 });
    expect(finding).toMatchObject({ reason: "engine-away", detail: matching("one: its canaries") });
    const waiting = ask(pool, "b");
    one.canaries = () => one.able;
    expect((await waiting).finding.kind).toBe("passed");
    expect(questionsOf(one)).toEqual(["b"]);
  });

  it("may bring in as much work as one engine takes, for a while, and none if it is silent", async () => {
    const pool = await ablePool([one, two], { recoveryWaitMs: 100 });
    for (const client of [one, two]) client.canaries = () => unable;
    one.leaveOut({ kind: "unable", reason: "broken" });
    expect(pool.grant()).toBe(2);
    two.leaveOut({ kind: "unable", reason: "broken" });
    expect([pool.concurrency(), pool.grant()]).toEqual([0, 2]);
    await vi.waitFor(() => expect(pool.grant()).toBe(0));
    for (const client of [one, two]) client.canaries = () => client.able;
    await pool.check(never);
    for (const client of [one, two]) {
      client.canaries = () => unable;
      client.leaveOut({ kind: "unable", reason: "it says nothing", silent: true });
    }
    expect(pool.grant()).toBe(0);
  });
});

describe("an engine that fails over a question", () => {
  it("is left out if the question never reached it, and another gets the question", async () => {
    one.script = () => unreached;
    const pool = await ablePool([one, two]);
    one.canaries = () => unable;
    expect(await ask(pool, "a")).toMatchObject({ finding: { kind: "passed" }, address: "two" });
    expect(pool.reasons()).toBe("one: it is engine-away");
  });

  it("is not asked forever if it is never reached, though its canaries pass", async () => {
    one.script = two.script = () => unreached;
    const pool = await ablePool([one, two]);
    expect((await ask(pool, "a")).finding).toMatchObject({ reason: "engine-away" });
    expect(one.asked.length + two.asked.length).toBe(3);
  });

  it("by dying is a strike, and is given nothing before its canaries have passed", async () => {
    one.script = () => died;
    const pool = await ablePool([one]);
    const canaries = Promise.withResolvers<EngineState>();
    one.canaries = () => canaries.promise;
    const answer = await ask(pool, "a");
    expect(answer).toMatchObject({ finding: { reason: "engine-error" }, strikes: 1 });
    expect(pool.concurrency()).toBe(0);
    one.script = () => found;
    const next = ask(pool, "b");
    await turn();
    expect(questionsOf(one)).toEqual(["a"]);
    canaries.resolve(one.able);
    const { finding, strikes } = await next;
    expect([finding.kind, strikes]).toEqual(["found", undefined]);
  });

  it.each([
    ["and died", failed("engine-away", { lost: "died", isShared: true })],
    ["and goes on", failed("engine-error", { isShared: true })],
  ])(
    "with others, %s, has the question asked once more, alone and elsewhere",
    async (_, failure) => {
      one.script = () => failure;
      two.script = () => found;
      const pool = await ablePool([one, two]);
      const { finding, strikes } = await ask(pool, "a");
      expect([finding.kind, strikes]).toEqual(["found", undefined]);
      expect([one, two].map(({ asked }) => asked[0]?.alone)).toEqual([false, true]);
    },
  );

  it("with others, and again alone, tells both stories: a strike for each death, none for a neighbour's", async () => {
    const outcomes = async (first: object, second: object) => {
      const clients = [new FakeClient("one"), new FakeClient("two")] as const;
      clients[0].script = () => failed("engine-away", { isShared: true, ...first });
      clients[1].script = () => failed("engine-error", second);
      return ask(await ablePool(clients), "a");
    };
    const dead = { lost: "died" } as const;
    const both = await outcomes(dead, dead);
    expect(both.finding).toMatchObject({
      detail: "it is engine-away; tried again alone: it is engine-error",
    });
    expect(both.strikes).toBe(2);
    expect((await outcomes({}, dead)).strikes).toBe(1);
    expect(await outcomes({}, {})).not.toHaveProperty("strikes");
  });

  it("is asked about a suspect alone, and the suspect goes to no other once it was reached", async () => {
    one.script = two.script = () => failed("engine-away", { lost: "died", isShared: true });
    const pool = await ablePool([one, two]);
    expect(await ask(pool, "a", { suspect: true })).toMatchObject({ strikes: 1 });
    expect(one.asked).toMatchObject([{ alone: true }]);
    expect(two.asked).toEqual([]);
  });

  it.each<[string, EngineState | "never", number | undefined]>([
    ["is well is a strike", { kind: "able", engine: { name: "fake", version: "one" } }, 1],
    ["is gone is a strike", unable, 1],
    ["does not answer canaries either is not a strike", { ...unable, silent: true }, undefined],
    ["does not report its state in time is not a strike", "never", undefined],
  ])("by a time-out and %s", async (_, state, strikes) => {
    one.script = () => late;
    const pool = await ablePool([one]);
    const hang = Promise.withResolvers<EngineState>();
    one.canaries = () => (state === "never" ? hang.promise : state);
    const answer = await ask(pool, "a", { accountMs: 50 });
    expect(answer.finding).toMatchObject({ reason: "time-out" });
    expect(answer.strikes).toBe(strikes);
    expect(one.looks).toBeGreaterThan(1);
    hang.resolve(one.able);
  });

  it("goes on with others while its canaries decide, if it only said that it could not", async () => {
    one.script = () => failed("busy");
    const pool = await ablePool([one]);
    const canaries = Promise.withResolvers<EngineState>();
    one.canaries = () => canaries.promise;
    expect((await ask(pool, "a")).finding).toMatchObject({ reason: "busy" });
    expect(pool.concurrency()).toBe(2);
    canaries.resolve(unable);
    await vi.waitFor(() => expect(pool.concurrency()).toBe(0));
  });

  it("is not doubted for a reason in the mail, nor for its own word on it", async () => {
    const pool = await ablePool([one]);
    one.script = () => failed("too-large");
    await ask(pool, "a");
    one.script = () => ({ kind: "answered", finding: { kind: "found" } });
    await ask(pool, "b");
    expect(one.looks).toBe(1);
  });
});

function matching(text: string): unknown {
  return expect.stringContaining(text);
}
