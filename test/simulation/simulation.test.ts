import { execFile } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it, vi } from "vitest";
import { cacheFolderOf } from "@rs-agent/kit/mongodb/config.ts";
import { bugs } from "./kit/bugs.ts";
import type { Tally } from "./simulate.ts";

// It computes and waits for nothing: on a busy machine it only takes longer.
vi.setConfig({ testTimeout: 1_800_000 });

const main = fileURLToPath(new URL("main.ts", import.meta.url));
/** A process of its own, because it replaces timers, sockets and clocks. */
async function simulate(...args: string[]): Promise<Tally & { clean: boolean }> {
  const NODE_COMPILE_CACHE = join(cacheFolderOf(process.env), "node-compile-cache");
  const env = { ...process.env, NODE_COMPILE_CACHE };
  const options = { maxBuffer: 100_000_000, env };
  const ended = promisify(execFile)(process.execPath, [main, "--json", ...args], options);
  // It ends with exit code 1 if it has found something.
  const { stdout } = await ended.catch((error: unknown) => error as { stdout: string });
  return JSON.parse(stdout) as Tally & { clean: boolean };
}

describe("the decisions of dispatcher, worker, relay and store, run on virtual time", () => {
  it("keep I1–I4, I7, I8, I10, I12 and the poison lane's rule in 1,000 schedules of faults", async () => {
    const { found, schedules, outcomes } = await simulate("--seeds", "1000");
    expect(found).toEqual([]);
    expect(schedules).toBe(1_000);
    for (const outcome of ["sent", "quarantined", "discarded", "bounced", "dead"]) {
      expect(outcomes[outcome], outcome).toBeGreaterThan(100);
    }
  });

  it("depend on nothing but the seed", async () => {
    const runs = await Promise.all(
      ["1", "2"].map((jobs) => simulate("--seeds", "5", "--jobs", jobs)),
    );
    expect(runs[0]?.fingerprint).toBe(runs[1]?.fingerprint);
    expect((await simulate("--seeds", "5", "--from", "2")).fingerprint).not.toBe(
      runs[0]?.fingerprint,
    );
  });
});

describe("a mistake that is planted on purpose is found", () => {
  it.each(Object.entries(bugs))("%s", async (name, { breaks }) => {
    const { found } = await simulate("--bug", name, "--seeds", "400", "--jobs", "1");
    expect(found.length).toBeGreaterThan(0);
    for (const { invariant } of found) expect(breaks).toContain(invariant);
  });
});
