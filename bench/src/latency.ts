import { join } from "node:path";
import Table from "cli-table3";
import { newMailId } from "@rs-agent/shared/ids.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { ServiceLog } from "@rs-agent/kit/processes/service-log.ts";
import { onStage, renderConditions, say, type Conditions } from "./comparison.ts";
import { recordOf, rawMail, startNullSystem, untilSent } from "./inserted-mails.ts";
import { readOptions } from "./options.ts";
import { databaseText, withDatabase } from "./our-system.ts";
import {
  judge,
  judgementText,
  spreadOf,
  spreadText,
  type Judgement,
  type Spread,
} from "./spread.ts";

/**
 * How long a mail takes if it has the system to itself: ten mails per second at even intervals,
 * workers without engines. From the insertion of a mail's record, with which the mail begins to
 * exist, to the next hop's 250 as the relay logs it; and the same from before its body was
 * inserted. `node bench/src/latency.ts [--rate N] [--seconds N] [--rounds N] [--size BYTES]
 * [--json]`
 */
const options = readOptions({
  rate: 10,
  /** Length of a round. */
  seconds: 20,
  rounds: 7,
  size: 4_096,
});
const { rate: perSecond, rounds } = options;
const raw = rawMail(options.size);
const mostP50Ms = 15;
const mostP99Ms = 60;

interface Latency {
  p50: number;
  p99: number;
  max: number;
}

interface Report {
  conditions: Conditions;
  perSecond: number;
  mailsPerRound: number;
  p50Ms: Spread & Judgement;
  p99Ms: Spread & Judgement;
  maxMs: Spread;
  /** From before the body was inserted. */
  withBody: { p50Ms: Spread; p99Ms: Spread };
  rounds: { fromRecord: Latency; fromBody: Latency }[];
}

interface Times {
  bodyAt: number;
  recordAt: number;
  relayedAt: number;
}

const sleepUntil = (at: number) =>
  new Promise((resolve) => setTimeout(resolve, Math.max(0, at - Date.now())));

/** An open loop: a mail is inserted when its time comes, whatever became of those before. */
async function latencyRound(
  database: Database,
  relayLog: ServiceLog,
  count: number,
): Promise<Times[]> {
  const times = new Map<string, Times>();
  const inserting: Promise<void>[] = [];
  const beganAt = Date.now();
  for (let n = 0; n < count; n += 1) {
    await sleepUntil(beganAt + (n * 1_000) / perSecond);
    const id = newMailId();
    inserting.push(insertTimed(database, id, times));
  }
  await Promise.all(inserting);
  await untilSent(database);
  for (const { msg, status, time, mailId } of relayLog.read()) {
    const seen = times.get(String(mailId));
    if (msg === "recipient outcome" && status === "sent" && seen !== undefined) {
      seen.relayedAt = Number(time);
    }
  }
  const unseen = [...times.values()].filter(({ relayedAt }) => Number.isNaN(relayedAt)).length;
  if (unseen > 0) throw new Error(`the relay's log does not say when ${unseen} mails were sent`);
  return [...times.values()];
}

async function insertTimed(
  database: Database,
  id: string,
  times: Map<string, Times>,
): Promise<void> {
  const bodyAt = Date.now();
  const body = await database.bodies.put(raw);
  times.set(id, { bodyAt, recordAt: Date.now(), relayedAt: Number.NaN });
  await database.mails.insert(recordOf(id, body, database.clock.now()));
}

function latencyOf(ms: readonly number[]): Latency {
  const sorted = ms.toSorted((a, b) => a - b);
  // Nearest rank.
  const at = (part: number) => sorted[Math.max(0, Math.ceil(part * sorted.length) - 1)] ?? 0;
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

const report = await onStage(
  async ({ runDir, sink, signal, keep, conditions }): Promise<Report> => {
    const system = keep(await startNullSystem({ runDir, signal, nextHop: sink.address }));
    const relayLog = new ServiceLog(join(system.logsDir, "relay.log"));
    const mailsPerRound = Math.max(1, Math.round(perSecond * options.seconds));
    const seen: Report["rounds"] = [];
    await withDatabase(system.mongodb, async (database) => {
      await latencyRound(database, relayLog, Math.min(100, mailsPerRound));
      for (let n = 0; n < rounds; n += 1) {
        const times = await latencyRound(database, relayLog, mailsPerRound);
        const fromRecord = latencyOf(times.map(({ recordAt, relayedAt }) => relayedAt - recordAt));
        const fromBody = latencyOf(times.map(({ bodyAt, relayedAt }) => relayedAt - bodyAt));
        seen.push({ fromRecord, fromBody });
        say(`${n + 1}/${rounds} p50 ${fromRecord.p50} ms, p99 ${fromRecord.p99} ms`);
      }
    });
    const of = (pick: (round: Report["rounds"][number]) => number) => seen.map(pick);
    const judged = (ms: number[], most: number) => ({ ...spreadOf(ms), ...judge(ms, { most }) });
    return {
      conditions: conditions(rounds, { database: databaseText(system.mongodb) }),
      perSecond,
      mailsPerRound,
      p50Ms: judged(
        of(({ fromRecord }) => fromRecord.p50),
        mostP50Ms,
      ),
      p99Ms: judged(
        of(({ fromRecord }) => fromRecord.p99),
        mostP99Ms,
      ),
      maxMs: spreadOf(of(({ fromRecord }) => fromRecord.max)),
      withBody: {
        p50Ms: spreadOf(of(({ fromBody }) => fromBody.p50)),
        p99Ms: spreadOf(of(({ fromBody }) => fromBody.p99)),
      },
      rounds: seen,
    };
  },
);

function print({ conditions, p50Ms, p99Ms, maxMs, withBody, mailsPerRound }: Report): void {
  const table = new Table({
    head: [`${perSecond} mails/s, ${mailsPerRound} a round`, "ms: median (min–max)", ""],
    style: { head: [], border: [] },
  });
  table.push(
    ["insert to relayed, p50", spreadText(p50Ms), judgementText(p50Ms)],
    ["insert to relayed, p99", spreadText(p99Ms), judgementText(p99Ms)],
    ["insert to relayed, max", spreadText(maxMs), ""],
    ["with the body's insert, p50", spreadText(withBody.p50Ms), ""],
    ["with the body's insert, p99", spreadText(withBody.p99Ms), ""],
  );
  process.stdout.write(`${renderConditions(conditions)}\n${table.toString()}\n`);
}

if (options.json) process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
else print(report);
