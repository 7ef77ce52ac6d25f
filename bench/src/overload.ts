import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Table from "cli-table3";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { serviceNames } from "@rs-agent/kit/system/service-names.ts";
import { startSystem, type RunningSystem } from "@rs-agent/kit/system/system.ts";
import { watchMemory, type MemoryOfPart } from "./memory.ts";
import { readOptions } from "./options.ts";
import { nullWorker, storePolicy, withDatabase } from "./our-system.ts";
import { followRelay } from "./relayed-mail.ts";
import { openArrivals, type ArrivalCounts } from "./smtp-arrivals.ts";
import { startSmtpSink } from "./smtp-sink.ts";

/**
 * More mail than the system can check: a private system with a spam engine of known speed, its
 * capacity measured, then arrivals by SMTP at a multiple of that. What must hold: memory does not
 * grow, the 250 stays quick or becomes 452, the oldest mail goes first, what was accepted is sent,
 * and the system recovers by itself. `node bench/src/overload.ts [--minutes N] [--factor N]
 * [--engine-rate N] [--max-waiting N] [--connections N] [--json]`
 */
const options = readOptions({
  minutes: 10,
  factor: 10,
  /** How many mails per second the spam engine checks; spamd manages about 20. */
  "engine-rate": 40,
  /** INGEST_MAX_WAITING; by default a minute's work of the engine. */
  "max-waiting": 0,
  connections: 100,
});
const { minutes, factor, "engine-rate": engineRate, connections } = options;
const maxWaiting = options["max-waiting"] || engineRate * 60;

const engineConcurrency = 4;
const capacitySeconds = 20;
const demandedSlope = 1;
/** A slope is judged over at least a minute, after two minutes in which it settles. */
const judgedMinutes = 3;

interface Times {
  count: number;
  medianMs: number;
  p99Ms: number;
  maxMs: number;
}

interface Report {
  server: string;
  durability: string;
  minutes: number;
  factor: number;
  maxWaiting: number;
  capacityPerSecond: number;
  offeredPerSecond: number;
  accepted: number;
  putOff: number;
  crowdedOut: number;
  others: Record<string, number>;
  to250: Times;
  to452: Times;
  ageWhenSent: Times;
  overtaken: Times;
  memory: MemoryOfPart[];
  recovery: { takesMailAfterMs: number; nothingWaitsAfterMs: number };
  /** Accepted recipients without an end. */
  open: number;
  holds: boolean;
  because: string[];
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

async function run(): Promise<Report> {
  const runDir = mkdtempSync(join(tmpdir(), "rs-agent-bench-"));
  const sink = await startSmtpSink();
  const system = await startSystem({
    runDir,
    clamd: "none",
    spamd: "none",
    nextHop: sink.address,
    scripts: { "av-worker": nullWorker, "spam-worker": nullWorker },
    serviceEnv: {
      ingest: { INGEST_MAX_WAITING: String(maxWaiting), INGEST_REVERSE_LOOKUP: "off" },
      "av-worker": { NULL_TASK: "virus" },
      "spam-worker": {
        NULL_TASK: "spam",
        NULL_CONCURRENCY: String(engineConcurrency),
        NULL_WORK_MS: String((engineConcurrency * 1_000) / engineRate),
      },
    },
    prepare: (mongodb) => storePolicy(mongodb, { virus: true, spam: true }),
    restart: false,
  });
  try {
    return await withDatabase(system.mongodb, (database) => measure(system, database));
  } finally {
    await system.stop();
    sink.stop();
    rmSync(runDir, { recursive: true, force: true });
  }
}

async function measure(system: RunningSystem, database: Database): Promise<Report> {
  const capacity = await capacityOf(system, database);
  say(`capacity ${capacity.toFixed(1)} mails/s, offering ${(capacity * factor).toFixed(0)}/s`);
  const relayed = followRelay(system.logsDir);
  const memory = watchMemory(() => pidsOf(system));
  const arrivals = await openArrivals(system.smtp, connections, rawMail());
  await arriveAt(capacity * factor, minutes * 60_000, arrivals.arrive);
  await arrivals.settled();
  arrivals.close();
  const memoryOf = memory.stop();
  const recovery = await recover(system, database);
  const { ages, overtaken } = relayed.read();
  relayed.stop();
  const { open } = await database.mails.countOutcomes();
  const { counts } = arrivals;
  const { server, durability } = system.mongodb;
  const report = {
    server,
    durability,
    minutes,
    factor,
    maxWaiting,
    capacityPerSecond: capacity,
    offeredPerSecond: capacity * factor,
    accepted: counts.accepted,
    putOff: counts.putOff,
    crowdedOut: counts.crowdedOut,
    others: counts.others,
    to250: timesOf(counts.to250),
    to452: timesOf(counts.toPutOff),
    ageWhenSent: timesOf(ages),
    overtaken: timesOf(overtaken),
    memory: memoryOf,
    recovery,
    open,
  };
  const because = whatFails(report, counts, ages.length);
  return { ...report, holds: because.length === 0, because };
}

/** Mails per second that go through while there is always more to do. */
async function capacityOf(system: RunningSystem, database: Database): Promise<number> {
  const relayed = followRelay(system.logsDir);
  const arrivals = await openArrivals(system.smtp, 10, rawMail());
  const { counts } = arrivals;
  const ahead = engineRate * 3;
  const keepBusy = setInterval(() => {
    for (let room = ahead - (counts.begun - relayed.read().count); room > 0; room -= 1) {
      if (counts.begun - counts.accepted >= 10) return;
      arrivals.arrive();
    }
  }, 20);
  await sleep(5_000);
  const [from, begun] = [relayed.read().count, performance.now()];
  await sleep(capacitySeconds * 1_000);
  const rate = ((relayed.read().count - from) * 1_000) / (performance.now() - begun);
  clearInterval(keepBusy);
  await arrivals.settled();
  arrivals.close();
  relayed.stop();
  await untilNothingWaits(database);
  return rate;
}

/** An open loop: arrivals come at their time, whatever became of those before. */
async function arriveAt(perSecond: number, forMs: number, arrive: () => void): Promise<void> {
  const begun = performance.now();
  let arrived = 0;
  for (;;) {
    const sinceMs = performance.now() - begun;
    if (sinceMs >= forMs) return;
    for (; arrived < (sinceMs * perSecond) / 1_000; arrived += 1) arrive();
    await sleep(10);
  }
}

async function recover(system: RunningSystem, database: Database): Promise<Report["recovery"]> {
  const begun = performance.now();
  const since = () => Math.round(performance.now() - begun);
  const takesMail = async () => {
    const probe = await openArrivals(system.smtp, 1, rawMail());
    try {
      for (;;) {
        probe.arrive();
        await probe.settled();
        if (probe.counts.accepted > 0) return since();
        await sleep(500);
      }
    } finally {
      probe.close();
    }
  };
  const takesMailAfterMs = await takesMail();
  await untilNothingWaits(database);
  return { takesMailAfterMs, nothingWaitsAfterMs: since() };
}

async function untilNothingWaits({ mails }: Database): Promise<void> {
  while ((await mails.waiting()).length > 0) await sleep(250);
}

function pidsOf(system: RunningSystem): Record<string, number> {
  const pids = system.pids();
  const services = serviceNames.flatMap((name) =>
    pids[name].map((pid, nth): [string, number] => [nth === 0 ? name : `${name} ${nth + 1}`, pid]),
  );
  const { pid } = system.mongodb;
  return { ...Object.fromEntries(services), ...(pid === undefined ? {} : { database: pid }) };
}

function whatFails(
  report: Omit<Report, "holds" | "because">,
  { accepted, others }: ArrivalCounts,
  sent: number,
): string[] {
  const grown = report.memory.filter(
    ({ part, slopePercentPerMinute }) =>
      part !== "database" && minutes >= judgedMinutes && slopePercentPerMinute > demandedSlope,
  );
  return [
    ...grown.map(
      ({ part, slopePercentPerMinute }) =>
        `${part} grew by ${slopePercentPerMinute.toFixed(2)} % per minute`,
    ),
    // The probe of the recovery is one more mail.
    ...(sent < accepted + 1 ? [`${accepted + 1} accepted, ${sent} sent`] : []),
    ...(report.open > 0 ? [`${report.open} recipients without an end`] : []),
    ...Object.entries(others).map(([reply, count]) => `${count} times reply ${reply}`),
  ];
}

function timesOf(times: readonly number[]): Times {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (part: number) =>
    Math.round((sorted[Math.floor(part * (sorted.length - 1))] ?? 0) * 10) / 10;
  return { count: sorted.length, medianMs: at(0.5), p99Ms: at(0.99), maxMs: at(1) };
}

function rawMail(): Buffer {
  const head =
    "From: Sender <sender@stranger.example>\r\nTo: rcpt@bench.example\r\nSubject: bench\r\n" +
    "Message-ID: <bench@stranger.example>\r\nDate: Mon, 23 Nov 2026 00:00:00 +0000\r\n\r\n";
  return Buffer.from(head + "The quick brown fox runs on, mail after mail.\r\n".repeat(80));
}

function say(text: string): void {
  if (!options.json) process.stderr.write(`${text}\n`);
}

function print(report: Report): void {
  const { capacityPerSecond, offeredPerSecond, recovery, memory } = report;
  const times = new Table({ head: ["", "count", "median", "99 %", "max"], style: { head: [] } });
  const row = (name: string, { count, medianMs, p99Ms, maxMs }: Times) =>
    times.push([name, count, ...[medianMs, p99Ms, maxMs].map((ms) => `${ms} ms`)]);
  row("final dot to 250", report.to250);
  row("MAIL to 452", report.to452);
  row("age when sent", report.ageWhenSent);
  row("overtaken by younger mail by", report.overtaken);
  const rss = new Table({
    head: ["RSS, MB", "over time", "max", "% per minute"],
    style: { head: [] },
  });
  for (const { part, overTimeMb, maxMb, slopePercentPerMinute } of memory) {
    rss.push([part, overTimeMb.join(" "), maxMb, slopePercentPerMinute.toFixed(2)]);
  }
  process.stdout.write(
    `${report.server}; ${report.durability}\n` +
      `${capacityPerSecond.toFixed(1)} mails/s are its capacity; ${report.minutes} min at ${offeredPerSecond.toFixed(0)}/s, INGEST_MAX_WAITING ${report.maxWaiting}\n` +
      `${report.accepted} accepted, ${report.putOff} put off, ${report.crowdedOut} found all ${connections} connections busy\n` +
      `${times.toString()}\n${rss.toString()}\n` +
      `takes mail ${recovery.takesMailAfterMs} ms after the last arrival, nothing waits after ${recovery.nothingWaitsAfterMs} ms\n` +
      (minutes < judgedMinutes
        ? `memory is judged only in runs of at least ${judgedMinutes} minutes\n`
        : "") +
      `${report.holds ? "holds" : `does not hold: ${report.because.join("; ")}`}\n`,
  );
}

const report = await run();
if (options.json) process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
else print(report);
if (!report.holds) process.exitCode = 1;
