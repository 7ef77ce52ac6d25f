import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { newMailId } from "@rs-agent/shared/ids.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import type { BodyRef, MailRecord } from "@rs-agent/shared/mail/record.ts";
import { openDatabase, type Database } from "@rs-agent/shared/store/database.ts";
import { serviceNames, startSystem, type RunningSystem } from "@rs-agent/start/system.ts";
import { cpuMs } from "./cpu-time.ts";
import { driverBaseline } from "./driver-baseline.ts";
import { startSmtpSink } from "./smtp-sink.ts";
import { spreadOf, spreadText, type Spread } from "./spread.ts";

/**
 * From insert to relayed: mails a second and CPU a mail with workers that have no engine, the real
 * enricher, and smtp-sink as next hop, beside the driver's own work for the same mails in the same
 * run. `node bench/src/pipeline.ts [--mails N] [--rounds N] [--size BYTES] [--json]`
 */
const { values } = parseArgs({
  options: {
    mails: { type: "string", default: "2000" },
    rounds: { type: "string", default: "5" },
    size: { type: "string", default: "4096" },
    json: { type: "boolean", default: false },
  },
});
const mails = Number(values.mails);
const raw = rawMail(Number(values.size));

interface Round {
  mailsPerSecond: number;
  cpuMsPerMail: Record<string, number>;
}

interface Report {
  server: string;
  durability: string;
  mails: number;
  bytes: number;
  pipeline: Spread;
  driver: Spread;
  ratio: Spread;
  cpuMsPerMail: Record<string, Spread>;
}

const nullWorker = fileURLToPath(new URL("null-engine-service.ts", import.meta.url));

async function run(): Promise<Report> {
  const runDir = mkdtempSync(join(tmpdir(), "rs-agent-bench-"));
  const sink = await startSmtpSink();
  const system = await startSystem({
    runDir,
    counts: { ingest: 0 },
    clamd: "none",
    spamd: "none",
    nextHop: sink.address,
    scripts: { "av-worker": nullWorker, "spam-worker": nullWorker },
    serviceEnv: { "av-worker": { NULL_TASK: "virus" }, "spam-worker": { NULL_TASK: "spam" } },
    restart: false,
  });
  try {
    return await measure(system);
  } finally {
    await system.stop();
    sink.stop();
    rmSync(runDir, { recursive: true, force: true });
  }
}

async function measure(system: RunningSystem): Promise<Report> {
  const { uri, db, server, durability } = system.mongodb;
  const database = await openDatabase({ uri, db, clock: systemClock, log: createSilentLogger() });
  try {
    await round(system, database, Math.min(200, mails));
    const rounds: Round[] = [];
    const driver: number[] = [];
    for (let n = 0; n < Number(values.rounds); n += 1) {
      driver.push(await driverBaseline(uri, raw, mails));
      rounds.push(await round(system, database, mails));
    }
    const rates = rounds.map((each) => each.mailsPerSecond);
    const parts = Object.keys(rounds[0]?.cpuMsPerMail ?? {});
    return {
      server,
      durability,
      mails,
      bytes: raw.length,
      pipeline: spreadOf(rates),
      driver: spreadOf(driver),
      ratio: spreadOf(rates.map((rate, n) => rate / (driver[n] ?? Number.NaN))),
      cpuMsPerMail: Object.fromEntries(
        parts.map((part) => [part, spreadOf(rounds.map((each) => each.cpuMsPerMail[part] ?? 0))]),
      ),
    };
  } finally {
    await database.close();
  }
}

async function round(system: RunningSystem, database: Database, count: number): Promise<Round> {
  const before = cpuOf(system);
  const begin = performance.now();
  const ids = Array.from({ length: count }, () => newMailId());
  const queue = [...ids];
  const writer = async () => {
    for (let id = queue.pop(); id !== undefined; id = queue.pop()) await insert(database, id);
  };
  await Promise.all(Array.from({ length: 16 }, writer));
  await untilSent(database);
  const seconds = (performance.now() - begin) / 1000;
  const after = cpuOf(system);
  const used = Object.entries(after).map(([part, ms]): [string, number] => [
    part,
    (ms - (before[part] ?? 0)) / count,
  ]);
  return { mailsPerSecond: count / seconds, cpuMsPerMail: Object.fromEntries(used) };
}

async function insert(database: Database, id: string): Promise<void> {
  const body: BodyRef = await database.bodies.put(raw);
  const now = database.clock.now();
  const mail: MailRecord = {
    _id: id,
    v: 1,
    state: "incoming",
    next: "plan",
    dueAt: now,
    origin: { via: "smtp", name: "bench" },
    smtp: {
      mailFrom: "sender@stranger.example",
      rcptTo: ["rcpt@bench.example"],
      client: { address: "192.0.2.1", name: "", helo: "stranger.example" },
    },
    recipients: [{ address: "rcpt@bench.example", outcome: "open", attempts: 0 }],
    receivedAt: now,
    body,
    header: { messageId: `<${id}@stranger.example>`, from: "sender@stranger.example" },
    verdicts: {},
    history: [],
  };
  await database.mails.insert(mail);
}

/** All inserted mail has left every state in which something waits. */
async function untilSent(database: Database): Promise<void> {
  for (;;) {
    const waiting = await database.mails.waiting();
    if (waiting.length === 0) return;
    const stuck = waiting.find(({ state }) => state === "held");
    if (stuck !== undefined) throw new Error("a mail is held: the benchmark's policy is wrong");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

function cpuOf(system: RunningSystem): Record<string, number> {
  const pids = system.pids();
  const services = serviceNames
    .filter((name) => pids[name].length > 0)
    .map((name): [string, number] => [name, pids[name].reduce((sum, pid) => sum + cpuMs(pid), 0)]);
  const database = system.mongodb.pid === undefined ? 0 : cpuMs(system.mongodb.pid);
  return { ...Object.fromEntries(services), database };
}

function rawMail(size: number): Buffer {
  const head =
    "Received: from stranger.example (stranger.example [192.0.2.1])\r\n" +
    "\tby bench.example with ESMTP id 0; Mon, 23 Nov 2026 00:00:00 +0000\r\n" +
    "From: Sender <sender@stranger.example>\r\nTo: rcpt@bench.example\r\n" +
    "Subject: bench\r\nMessage-ID: <bench@stranger.example>\r\n" +
    "Date: Mon, 23 Nov 2026 00:00:00 +0000\r\nMIME-Version: 1.0\r\n" +
    "Content-Type: text/plain; charset=us-ascii\r\n\r\n";
  const line = "The quick brown fox jumps over the lazy dog and runs on, mail after mail.\r\n";
  return Buffer.from(
    head + line.repeat(Math.max(1, Math.ceil((size - head.length) / line.length))),
  );
}

function print(report: Report): void {
  const table = new Table({ head: ["", "median (min–max)"], style: { head: [] } });
  table.push(
    ["insert to relayed, mails/s", spreadText(report.pipeline)],
    ["the driver alone, mails/s", spreadText(report.driver)],
    ["ratio", spreadText(report.ratio, 2)],
    ...Object.entries(report.cpuMsPerMail).map(([part, spread]) => [
      `CPU ms a mail: ${part}`,
      spreadText(spread, 2),
    ]),
  );
  process.stdout.write(
    `${report.mails} mails of ${report.bytes} bytes a round; ${report.server}; ${report.durability}\n` +
      `${table.toString()}\n`,
  );
}

const report = await run();
if (values.json) process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
else print(report);
