import { setTimeout as wait } from "node:timers/promises";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { RunningSystem } from "@rs-agent/kit/system/system.ts";
import { caseOf, onStage, printReport, say, sizeText } from "./comparison.ts";
import { countCpu } from "./cpu-use.ts";
import { driverBaseline } from "./driver-baseline.ts";
import { insertToSink, rawMail, startNullSystem } from "./inserted-mails.ts";
import { readOptions } from "./options.ts";
import { databaseText, pidsOf, withDatabase } from "./our-system.ts";
import { interleave, type Subject, type SubjectRound } from "./rounds.ts";
import type { SmtpSink } from "./smtp-sink.ts";

/**
 * A mail's life, from insert to relayed: workers without engines, the real enricher, and smtp-sink
 * as next hop, next to the driver's own work for the same mails in the same run. `node
 * bench/src/life.ts [--mails N] [--rounds N] [--size BYTES] [--json]`
 */
const { mails, rounds, size, json } = readOptions({ mails: 2_000, rounds: 7, size: 4_096 });
const raw = rawMail(size);
const targets = [{ against: "driver alone", least: 0.6 }];
const settleMs = 500;

async function lifeRound(
  system: RunningSystem,
  ends: { database: Database; sink: SmtpSink },
  count: number,
): Promise<SubjectRound> {
  const cpuUsed = countCpu(() => pidsOf(system));
  const seconds = (await insertToSink(ends, raw, count)) / 1_000;
  await wait(settleMs);
  return { perSecond: count / seconds, cpuMs: cpuUsed(count) };
}

function driverSubject(system: RunningSystem): Subject {
  const { uri, pid } = system.mongodb;
  const processes = { database: pid === undefined ? [] : [pid] };
  return {
    name: "driver alone",
    round: async () => {
      const cpuUsed = countCpu(() => processes);
      const perSecond = await driverBaseline(uri, raw, mails);
      return { perSecond, cpuMs: cpuUsed(mails) };
    },
  };
}

const report = await onStage(async ({ runDir, sink, signal, keep, conditions }) => {
  const system = keep(await startNullSystem({ runDir, signal, nextHop: sink.address }));
  return withDatabase(system.mongodb, async (database) => {
    await lifeRound(system, { database, sink }, Math.min(500, mails));
    const ours = { name: "ours", round: () => lifeRound(system, { database, sink }, mails) };
    const figures = await interleave([driverSubject(system), ours], rounds, say);
    return {
      conditions: conditions(rounds, { database: databaseText(system.mongodb) }),
      cases: [caseOf(`${mails} mails of ${sizeText(raw.length)}`, figures, targets)],
    };
  });
});
printReport(report, json);
