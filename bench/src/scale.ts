import { availableParallelism } from "node:os";
import Table from "cli-table3";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { RunningSystem } from "@rs-agent/kit/system/system.ts";
import { onStage, renderConditions, say, type Conditions } from "./comparison.ts";
import { countCpu } from "./cpu-use.ts";
import { insertToSink, rawMail, startNullSystem } from "./inserted-mails.ts";
import { databaseText, pidsOf, storePolicy, withDatabase } from "./our-system.ts";
import { readOptions } from "./options.ts";
import type { SmtpSink } from "./smtp-sink.ts";
import {
  judge,
  judgementText,
  spreadOf,
  spreadText,
  type Judgement,
  type Spread,
} from "./spread.ts";

/**
 * Whether twice the workers do twice the work: 1, 2, 4 and 8 av-workers that take one mail at a
 * time and whose engine is a timer of 20 ms, so that a worker does at most 50 mails per second.
 * From the first insert to the last mail relayed. `node bench/src/scale.ts [--rounds N] [--seconds
 * N] [--work-ms N] [--workers N,N…] [--json]`
 */
const options = readOptions({ rounds: 7, seconds: 5, "work-ms": 20, workers: [1, 2, 4, 8] });
const { rounds, "work-ms": workMs, workers: counts } = options;
const raw = rawMail(4 * 1024);
const least = 0.9;

interface Ends {
  database: Database;
  sink: SmtpSink;
}

interface Step {
  workers: number;
  idealPerSecond: number;
  perSecond: Spread;
  /** Share of the ideal. */
  ratio: Spread & Judgement;
  /** Percent of all cores used by the system and its database: near 100, no more is possible. */
  cpuPercent: Spread;
}

interface Report {
  conditions: Conditions;
  workMs: number;
  steps: Step[];
}

async function stepOf(system: RunningSystem, ends: Ends, workers: number): Promise<Step> {
  const idealPerSecond = (workers * 1_000) / workMs;
  const count = Math.round(idealPerSecond * options.seconds);
  const seen: { perSecond: number; cpuPercent: number }[] = [];
  await round(system, ends, Math.min(count, 200));
  for (let n = 0; n < rounds; n += 1) {
    seen.push(await round(system, ends, count));
    say(`${workers} workers ${n + 1}/${rounds}: ${seen.at(-1)?.perSecond.toFixed(1) ?? ""}/s`);
  }
  const ratios = seen.map(({ perSecond }) => perSecond / idealPerSecond);
  return {
    workers,
    idealPerSecond,
    perSecond: spreadOf(seen.map(({ perSecond }) => perSecond)),
    ratio: { ...spreadOf(ratios), ...judge(ratios, { least }) },
    cpuPercent: spreadOf(seen.map(({ cpuPercent }) => cpuPercent)),
  };
}

async function round(system: RunningSystem, ends: Ends, count: number) {
  const cpuUsed = countCpu(() => pidsOf(system));
  const tookMs = await insertToSink(ends, raw, count);
  const usedMs = Object.values(cpuUsed(1)).reduce((sum, ms) => sum + ms, 0);
  const cpuPercent = (usedMs * 100) / (tookMs * availableParallelism());
  return { perSecond: (count * 1_000) / tookMs, cpuPercent };
}

const report = await onStage(
  async ({ runDir, sink, signal, keep, conditions }): Promise<Report> => {
    const system = keep(
      await startNullSystem({
        runDir,
        signal,
        nextHop: sink.address,
        counts: { "spam-worker": 0, "av-worker": counts[0] ?? 1 },
        virus: { NULL_WORK_MS: String(workMs), NULL_CONCURRENCY: "1" },
        prepare: (mongodb) => storePolicy(mongodb, { virus: true, spam: false }),
      }),
    );
    return withDatabase(system.mongodb, async (database) => {
      const steps: Step[] = [];
      for (const workers of counts) {
        while (system.pids()["av-worker"].length < workers) await system.add("av-worker");
        steps.push(await stepOf(system, { database, sink }, workers));
      }
      const about = { database: databaseText(system.mongodb) };
      return { conditions: conditions(rounds, about), workMs, steps };
    });
  },
);

function print({ conditions, steps }: Report): void {
  const table = new Table({
    head: ["workers", "ideal/s", "mails/s: median (min–max)", "of the ideal", "CPU %", ""],
    style: { head: [], border: [] },
  });
  for (const { workers, idealPerSecond, perSecond, ratio, cpuPercent } of steps) {
    const cells = [workers, idealPerSecond, spreadText(perSecond, 1), spreadText(ratio, 2)];
    table.push([...cells, spreadText(cpuPercent), judgementText(ratio)]);
  }
  process.stdout.write(`${renderConditions(conditions)}\n${table.toString()}\n`);
}

if (options.json) process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
else print(report);
