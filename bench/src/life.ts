import { loadavg } from "node:os";
import { setTimeout as wait } from "node:timers/promises";
import { parseArgs } from "node:util";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { openDatabase, type Database } from "@rs-agent/shared/store/database.ts";
import type { RunningSystem } from "@rs-agent/start/system.ts";
import { caseOf, machine, onStage, printReport, say, sizeText } from "./comparison.ts";
import { treeCpuMs } from "@rs-agent/start/cpu-time.ts";
import { driverBaseline } from "./driver-baseline.ts";
import { insertToSink, rawMail, startNullSystem } from "./inserted-mails.ts";
import { pidsOf } from "./our-system.ts";
import { interleave, type Subject, type SubjectRound } from "./rounds.ts";
import type { SmtpSink } from "./smtp-sink.ts";

/**
 * A mail's life, from insert to relayed: workers that have no engine, the real enricher, and smtp-sink
 * as next hop, beside the driver's own work for the same mails in the same run.
 * `node bench/src/life.ts [--mails N] [--rounds N] [--size BYTES] [--json]`
 */
const { values } = parseArgs({
  options: {
    mails: { type: "string", default: "2000" },
    rounds: { type: "string", default: "7" },
    size: { type: "string", default: "4096" },
    json: { type: "boolean", default: false },
  },
});
const mails = Number(values.mails);
const rounds = Number(values.rounds);
const raw = rawMail(Number(values.size));
const targets = [{ against: "driver alone", least: 0.6 }];
const settleMs = 500;

async function lifeRound(
  system: RunningSystem,
  ends: { database: Database; sink: SmtpSink },
  count: number,
): Promise<SubjectRound> {
  const before = cpuOf(pidsOf(system));
  const seconds = (await insertToSink(ends, raw, count)) / 1_000;
  await wait(settleMs);
  const after = cpuOf(pidsOf(system));
  const used = Object.entries(after).map(([part, ms]): [string, number] => [
    part,
    (ms - (before[part] ?? 0)) / count,
  ]);
  return { perSecond: count / seconds, cpuMs: Object.fromEntries(used) };
}

function cpuOf(processes: Record<string, readonly number[]>): Record<string, number> {
  return Object.fromEntries(
    Object.entries(processes).map(([part, pids]) => [
      part,
      pids.reduce((sum, pid) => sum + treeCpuMs(pid), 0),
    ]),
  );
}

function driverSubject(system: RunningSystem): Subject {
  const { uri, pid } = system.mongodb;
  const databaseMs = () => (pid === undefined ? 0 : treeCpuMs(pid));
  return {
    name: "driver alone",
    round: async () => {
      const before = databaseMs();
      const perSecond = await driverBaseline(uri, raw, mails);
      return { perSecond, cpuMs: { database: (databaseMs() - before) / mails } };
    },
  };
}

const before = loadavg()[0] ?? 0;
const report = await onStage(async ({ runDir, sink, signal, keep }) => {
  const system = keep(await startNullSystem({ runDir, signal, nextHop: sink.address }));
  const { uri, db, server, durability } = system.mongodb;
  const database = await openDatabase({ uri, db, clock: systemClock, log: createSilentLogger() });
  try {
    await lifeRound(system, { database, sink }, Math.min(500, mails));
    const ours = { name: "ours", round: () => lifeRound(system, { database, sink }, mails) };
    const figures = await interleave([driverSubject(system), ours], rounds, say);
    const load = { before, after: loadavg()[0] ?? 0 };
    const about = { database: `${server}; ${durability}` };
    return {
      conditions: { ...machine(), load, rounds, about },
      cases: [caseOf(`${mails} mails of ${sizeText(raw.length)}`, figures, targets)],
    };
  } finally {
    await database.close();
  }
});
printReport(report, values.json);
