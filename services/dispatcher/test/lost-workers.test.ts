import { describe, expect, it, vi } from "vitest";
import { openBench, tenant } from "./in-process.ts";

const virusOnly = `
default:
  spam: off
${tenant}`;

describe("a worker that is lost", () => {
  it("leaves its mail to another one, and nothing is lost", async () => {
    const bench = await openBench();
    await bench.policy(virusOnly);
    await bench.dispatcher();
    bench.worker("enrich");
    const begun = Promise.withResolvers<void>();
    const first = bench.worker("virus", {
      handle: (_task, _mail, { signal }) => {
        begun.resolve();
        return new Promise((_, reject) => {
          signal.addEventListener("abort", () => reject(new Error("closed")));
        });
      },
    });
    const id = await bench.mail();
    await begun.promise;
    await first.close();
    bench.worker("virus");
    await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("ready"));
  });

  it("I2: that says `failed` makes the check unchecked, never clean; the mail waits", async () => {
    const bench = await openBench();
    await bench.policy(virusOnly);
    await bench.dispatcher();
    bench.worker("enrich");
    let failing = true;
    bench.worker("virus", {
      handle: () =>
        failing
          ? Promise.reject(new Error("broken engine"))
          : Promise.resolve({ output: { kind: "clean" } }),
    });
    const id = await bench.mail();
    await vi.waitFor(async () => {
      const mail = await bench.get(id);
      expect(mail.verdicts.virus?.finding).toMatchObject({
        kind: "unchecked",
        reason: "engine-error",
      });
    });
    const waiting = await bench.get(id);
    expect(waiting).toMatchObject({ state: "processing", next: "virus" });
    expect(waiting.uncheckedSince).toMatchObject({ check: "virus", reason: "engine-error" });
    failing = false;
    await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("ready"));
    const ready = await bench.get(id);
    expect(ready.verdicts.virus?.finding.kind).toBe("clean");
    expect(ready.uncheckedSince).toBeUndefined();
  });
});

describe("mail without an able worker", () => {
  it("waits in its place, says why, and is taken once one is there", async () => {
    const bench = await openBench();
    await bench.policy(virusOnly);
    await bench.dispatcher();
    bench.worker("enrich");
    const ids = await Promise.all([1, 2, 3].map(() => bench.mail()));
    await vi.waitFor(async () => {
      for (const id of ids) {
        expect(await bench.get(id)).toMatchObject({
          state: "processing",
          next: "virus",
          uncheckedSince: { check: "virus", reason: "engine-away" },
        });
      }
    });
    bench.worker("virus");
    await vi.waitFor(() => expect(bench.asked.some((a) => a.startsWith("virus"))).toBe(true));
    for (const id of ids) {
      await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("ready"));
    }
  });

  it("I2: is quarantined, not passed, when the policy's wait is over while no engine is there", async () => {
    const bench = await openBench();
    await bench.policy(`
default:
  spam: off
  virus:
    unchecked: { engine-away: { action: wait, for: 1s, then: quarantine } }
${tenant}`);
    await bench.dispatcher();
    bench.worker("enrich");
    const id = await bench.mail();
    await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("quarantined"));
    expect((await bench.get(id)).verdicts.virus?.finding).toMatchObject({ kind: "unchecked" });
  });
});
