import { describe, expect, it, vi } from "vitest";
import { openBench, tenant } from "./in-process.ts";

/** The kinds that were asked for a mail, sorted. */
function kindsFor(asked: readonly string[], id: string): string[] {
  return asked
    .filter((each) => each.endsWith(` ${id}`))
    .map((each) => each.split(" ")[0] ?? "")
    .sort();
}

const rules = (virus: boolean, spam: boolean, order = "sequential") => `
default:
  order: ${order}
  virus: { enabled: ${String(virus)} }
  spam: { enabled: ${String(spam)} }
${tenant}`;

describe("the tasks that run", () => {
  for (const [virus, spam] of [
    [true, true],
    [true, false],
    [false, true],
    [false, false],
  ] as const) {
    for (const order of ["sequential", "parallel"]) {
      const on = [...(spam ? ["spam"] : []), ...(virus ? ["virus"] : [])];
      it(`are exactly ${["enrich", ...on].join(", ")}: virus ${String(virus)}, spam ${String(spam)}, ${order}`, async () => {
        const bench = await openBench();
        await bench.policy(rules(virus, spam, order));
        await bench.dispatcher();
        for (const kind of ["virus", "spam", "enrich"] as const) bench.worker(kind);
        const ids = await Promise.all([1, 2, 3].map(() => bench.mail()));
        for (const id of ids) {
          await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("ready"));
          expect(kindsFor(bench.asked, id)).toEqual(["enrich", ...on].sort());
          const { verdicts } = await bench.get(id);
          expect(Object.keys(verdicts).sort()).toEqual([...on].sort());
        }
      });
    }
  }

  it("I2: end with a virus: spam is not asked, and the mail is quarantined", async () => {
    const bench = await openBench();
    await bench.dispatcher();
    bench.worker("virus", {
      handle: () => Promise.resolve({ output: { kind: "infected", names: ["Test-Virus"] } }),
    });
    bench.worker("spam");
    bench.worker("enrich");
    const id = await bench.mail();
    await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("quarantined"));
    expect(kindsFor(bench.asked, id)).toEqual(["virus"]);
    const mail = await bench.get(id);
    expect(mail.recipients.map(({ outcome }) => outcome)).toEqual(["quarantined"]);
    expect(mail.reason).toContain("Test-Virus");
    expect(mail.lease).toBeUndefined();
  });

  it("I5: nothing runs next to the enricher, even if virus and spam run side by side", async () => {
    const bench = await openBench();
    await bench.policy(rules(true, true, "parallel"));
    await bench.dispatcher();
    let checks = 0;
    let beside = 0;
    const slow = async <T>(output: T): Promise<{ output: T }> => {
      checks += 1;
      await new Promise((resolve) => setTimeout(resolve, 30));
      checks -= 1;
      return { output };
    };
    bench.worker("virus", { handle: () => slow({ kind: "clean" as const }) });
    bench.worker("spam", {
      handle: () => slow({ kind: "ham" as const, score: 0, required: 5, rules: [] }),
    });
    bench.worker("enrich", {
      handle: () => {
        beside += checks;
        return Promise.resolve({ output: { kind: "unable", reason: "seen" } });
      },
    });
    const id = await bench.mail();
    await vi.waitFor(async () => expect((await bench.get(id)).state).toBe("held"));
    expect(beside).toBe(0);
  });
});
