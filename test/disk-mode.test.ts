import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { builtInTasks, type TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { ActorReport } from "@rs-agent/shared/store/actors.ts";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { samples } from "../start/samples/samples.ts";
import { startClamd, type RunningClamd } from "@rs-agent/kit/engines/clamd.ts";
import { isAsExpected, resultOf } from "../start/src/result.ts";
import { awaitFates, sendSamples, type SampleFate } from "../start/src/sample-run.ts";
import { useWholeSystem } from "./support/use-system.ts";

/** A scan as clamd logs it: `<path>: OK`, `instream(…): … FOUND`. */
interface LoggedScan {
  what: string;
  result: string;
}

describe("disk mode", () => {
  let dir: string;
  let clamd: RunningClamd | undefined;
  let fates: SampleFate[];
  const whole = useWholeSystem(async () => {
    dir = await mkdtemp(join(tmpdir(), "rs-agent-e2e-disk-"));
    clamd = await startClamd({ dir: join(dir, "clamd"), settings: { LogClean: "yes" } });
    return { clamd: clamd.address, env: { SPOOL_DIR: join(dir, "spool") } };
  });

  beforeAll(async () => {
    const { database, system } = whole();
    const { signal } = new AbortController();
    await vi.waitFor(async () => {
      const reports = await database.actors.all();
      for (const kind of builtInTasks) expect(spoolsIn(reports, kind)).toHaveLength(1);
    });
    const sent = await sendSamples(samples(), system.smtp);
    fates = await awaitFates(sent, database.mails, { signal, report: () => undefined });
  });

  afterAll(async () => {
    await clamd?.stop();
    await rm(dir, { recursive: true, force: true });
  });

  it("every sample mail meets its fate", async () => {
    const result = resultOf(fates, await whole().database.mails.countOutcomes());
    expect(result.conservation).toMatchObject({ holds: true, open: 0 });
    expect(isAsExpected(result)).toBe(true);
  });

  it("clamd is given each mail by the path of one file, written once", async () => {
    const scans = scansIn(await readFile(clamd?.logFile ?? "", "utf8"));
    const spooled = scans.map(({ what }) => basename(what)).filter((name) => mailFile.test(name));
    const records = fates.flatMap((fate) => fate.records);
    expect(records.length).toBeGreaterThanOrEqual(samples().length);
    // One part of a split mail is scanned for all of them.
    const scanned = records.filter(({ verdicts }) => verdicts.virus?.askedFor === undefined);
    expect(records.length - scanned.length).toBe(1);
    expect(idsOf(spooled)).toEqual(scanned.map(({ _id }) => _id).sort());
    const infected = fates.filter(({ sample }) => sample.name.startsWith("eicar"));
    const found = scans.filter(({ what, result }) => mailFile.test(what) && /FOUND$/.test(result));
    for (const { id = "none" } of infected) {
      expect(found.map(({ what }) => what)).toContainEqual(expect.stringContaining(id));
    }
  });

  it("nothing is left on disk at the end", async () => {
    await vi.waitFor(async () => {
      expect(await readdir(join(dir, "spool"))).toEqual([".spool-id"]);
    });
  });
});

const mailFile = /([0-9a-z-]+)\.([0-9a-f]{32})\.eml$/;

function idsOf(files: readonly string[]): string[] {
  return files.map((file) => mailFile.exec(file)?.[1] ?? "").sort();
}

function scansIn(log: string): LoggedScan[] {
  return log.split("\n").flatMap((line) => {
    const [, what, result] = / -> (\S+): (.+)$/.exec(line) ?? [];
    return what === undefined || result === undefined ? [] : [{ what, result }];
  });
}

/** The spools that the dispatcher's workers of this kind have proved to see. */
function spoolsIn(reports: readonly ActorReport[], wanted: TaskKind): string[] {
  return reports.flatMap(({ snapshot }) => {
    const { workers = [] } = snapshot as { workers?: { kind: string; spools: string[] }[] };
    return workers.flatMap(({ kind, spools }) => (kind === wanted ? spools : []));
  });
}
