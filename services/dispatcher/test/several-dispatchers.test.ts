import { describe, expect, it, vi } from "vitest";
import { openBench, tenant } from "./in-process.ts";

const virusOnly = `
default:
  spam: off
${tenant}`;

describe("several dispatchers on one database", () => {
  it("I3: share the work, and no mail is asked for twice", async () => {
    const bench = await openBench();
    await bench.policy(virusOnly);
    await bench.dispatcher();
    await bench.dispatcher();
    bench.worker("virus");
    bench.worker("enrich");
    const ids = await Promise.all(Array.from({ length: 60 }, () => bench.mail()));
    for (const id of ids) {
      await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("ready"));
    }
    const virus = bench.asked.filter((each) => each.startsWith("virus"));
    expect(new Set(virus).size).toBe(60);
    expect(virus).toHaveLength(60);
  });

  it("I1: a drained one gives back what it holds, and the other finishes it", async () => {
    const bench = await openBench();
    await bench.policy(virusOnly);
    const first = await bench.dispatcher();
    const held = await Promise.all(Array.from({ length: 20 }, () => bench.mail()));
    await vi.waitFor(async () => {
      expect((await bench.get(held[0] ?? "")).plan).toBeDefined();
    });
    await first.drain(AbortSignal.timeout(5_000));
    for (const id of held) expect((await bench.get(id)).lease).toBeUndefined();
    await bench.dispatcher();
    bench.worker("virus");
    bench.worker("enrich");
    for (const id of held) {
      await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("ready"));
    }
  });

  it("I6: with the change stream off, the timer alone finds everything", async () => {
    const bench = await openBench();
    await bench.policy(virusOnly);
    await bench.dispatcher({ CHANGE_STREAM: "off" });
    bench.worker("virus");
    bench.worker("enrich");
    const ids = await Promise.all(Array.from({ length: 10 }, () => bench.mail()));
    for (const id of ids) {
      await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("ready"));
    }
  });
});
