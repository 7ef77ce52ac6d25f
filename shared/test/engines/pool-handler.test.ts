import { describe, expect, it } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { EnginePool } from "../../src/engines/engine-pool.ts";
import { askOptionsOf, handlerPart, outputOf } from "../../src/engines/pool-handler.ts";
import { createSilentLogger } from "../../src/logger.ts";
import { FakeClient } from "./fake-client.ts";

describe("a handler with a pool", () => {
  it("takes as much work as the pool grants, says why if it is none, and closes it", async () => {
    const client = new FakeClient("one");
    const deps = { clock: systemClock, log: createSilentLogger() };
    const handler = handlerPart(new EnginePool([client], { placesEach: 3 }, deps));
    expect([handler.concurrency(), handler.whyNone?.()]).toEqual([0, "one: not asked yet"]);
    expect(await handler.canary(new AbortController().signal)).toMatchObject({ able: true });
    expect([handler.concurrency(), handler.whyNone?.()]).toEqual([3, ""]);
    await handler.close();
    expect(client.isClosed).toBe(true);
  });

  it("asks within the task's deadline, and keeps part of it to learn how the engine is", () => {
    const options = (deadlineMs: number) => askOptionsOf({ deadlineMs }, 20_000);
    expect(options(180_000)).toEqual({ timeoutMs: 20_000, accountMs: 10_000, suspect: false });
    expect(options(25_000)).toMatchObject({ timeoutMs: 20_000, accountMs: 4_500 });
    expect(options(5_000)).toMatchObject({ timeoutMs: 4_500, accountMs: 0 });
    expect(options(10).timeoutMs).toBe(1);
    expect(askOptionsOf({ deadlineMs: 1, alone: true }, 1)).toMatchObject({ suspect: true });
  });

  it("answers the task with the finding, and with what must be told about the engine", () => {
    const engine = { name: "fake", version: "1" };
    const finding = { kind: "passed" } as const;
    expect(outputOf({ finding, engine, blind: [], address: "one" })).toEqual({
      output: finding,
      engine,
    });
    const failed = { kind: "unchecked", reason: "time-out" } as const;
    expect(outputOf({ finding: failed, blind: ["limit"], strikes: 1 })).toEqual({
      output: failed,
      blind: ["limit"],
      strikes: 1,
    });
  });
});
