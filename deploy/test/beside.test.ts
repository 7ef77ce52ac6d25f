import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { startBeside, type BesideOptions, type Program } from "../agent/beside.ts";

/** A program that notes what happens to it, in the order in which it happens. */
function noting(journal: string, name: string, onSigterm: string): Program {
  const script = `
    const { appendFileSync } = require("node:fs");
    const note = (text) => appendFileSync(${JSON.stringify(journal)}, ${JSON.stringify(name)} + " " + text + "\\n");
    process.on("SIGTERM", () => { note("hears SIGTERM"); ${onSigterm} });
    process.on("exit", () => note("ends"));
    setInterval(() => undefined, 60_000);
    note("runs " + process.pid);
  `;
  return { file: process.execPath, args: ["-e", script] };
}

describe("a worker beside its engine", () => {
  let dir: string;
  let journal: string;

  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "rs-agent-beside-"));
    journal = join(dir, "journal");
    await writeFile(journal, "");
  });
  afterEach(async () => rm(dir, { recursive: true, force: true }));

  const lines = async () => (await readFile(journal, "utf8")).trim().split("\n");
  const events = async () => (await lines()).map((line) => line.replace(/ \d+$/, ""));
  const pidsOf = async (name: string) =>
    (await lines())
      .filter((line) => line.startsWith(`${name} runs`))
      .map((line) => Number(line.split(" ").at(-1)));
  const bothRun = () =>
    vi.waitFor(async () => {
      expect(await pidsOf("worker")).toHaveLength(1);
      expect(await pidsOf("engine")).toHaveLength(1);
    });
  const start = (given: Partial<BesideOptions> = {}) =>
    startBeside({
      worker: noting(journal, "worker", "setTimeout(() => process.exit(0), 300)"),
      engine: noting(journal, "engine", "process.exit(0)"),
      log: createSilentLogger(),
      lookEveryMs: 20,
      renewSpreadMs: 0,
      engineStopMs: 10_000,
      backoffMs: { first: 10, most: 50 },
      ...given,
    });

  it("stops the engine only once the worker has drained and ended", async () => {
    const pair = start();
    await bothRun();
    pair.signal("SIGTERM");
    expect(await pair.ended).toBe(0);
    expect((await events()).slice(2)).toEqual([
      "worker hears SIGTERM",
      "worker ends",
      "engine hears SIGTERM",
      "engine ends",
    ]);
  });

  it("starts an engine that dies again, and lets the worker live", async () => {
    const pair = start();
    await bothRun();
    for (const lives of [1, 2]) {
      process.kill((await pidsOf("engine")).at(-1) ?? 0, "SIGKILL");
      await vi.waitFor(async () => {
        expect(await pidsOf("engine")).toHaveLength(lives + 1);
      });
    }
    expect(await pidsOf("worker")).toHaveLength(1);
    pair.signal("SIGTERM");
    expect(await pair.ended).toBe(0);
  });

  it("ends with the worker's exit code, and takes the engine with it", async () => {
    const pair = start({
      worker: noting(journal, "worker", "process.exit(78)"),
    });
    await bothRun();
    const [engine = 0] = await pidsOf("engine");
    pair.signal("SIGTERM");
    expect(await pair.ended).toBe(78);
    expect(() => process.kill(engine, 0)).toThrow("ESRCH");
  });

  it("tells the death of a worker that was killed as a shell does", async () => {
    const pair = start();
    await bothRun();
    process.kill((await pidsOf("worker"))[0] ?? 0, "SIGKILL");
    expect(await pair.ended).toBe(137);
    expect((await events()).at(-1)).toBe("engine ends");
  });

  it("kills an engine that does not end", async () => {
    const pair = start({ engine: noting(journal, "engine", ""), engineStopMs: 200 });
    await bothRun();
    const [engine = 0] = await pidsOf("engine");
    pair.signal("SIGTERM");
    expect(await pair.ended).toBe(0);
    expect(() => process.kill(engine, 0)).toThrow("ESRCH");
  });

  it("drains and ends with 0 when there are new rules", async () => {
    const renewFile = join(dir, "renewed");
    const pair = start({ renewFile });
    await bothRun();
    await writeFile(renewFile, "");
    expect(await pair.ended).toBe(0);
    expect(await events()).toContain("worker hears SIGTERM");
  });
});
