import { once } from "node:events";
import { spawn } from "node:child_process";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import Table from "cli-table3";
import { encodeMessages } from "@rs-agent/shared/bus/codec.ts";
import { createBusProtection } from "@rs-agent/shared/bus/protection.ts";
import {
  startWorkerPool,
  type TaskToPlace,
  type WorkerPool,
} from "@rs-agent/shared/bus/worker-pool.ts";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { newMailId, newToken, sha256Hex } from "@rs-agent/shared/ids.ts";
import { createLogger } from "@rs-agent/shared/logger.ts";
import { settingsHashOf } from "@rs-agent/shared/mail/task-settings.ts";
import { openRawPeer, type RawPeer } from "./bus-raw.ts";
import { spreadOf, spreadText, type Spread } from "./spread.ts";

export interface BusBenchOptions {
  /** Bytes of the mails. */
  sizes: readonly number[];
  rounds: number;
  /** Milliseconds that a round should about take. */
  roundMs: number;
  /** Tasks unanswered at once, on the bus as in the raw round. */
  inFlight: number;
}

/** Per second, for one size of mail. */
export interface BusFigures {
  size: number;
  bus: Spread;
  raw: Spread;
  /** Of the medians. */
  ratio: number;
}

const defaults: BusBenchOptions = {
  sizes: [200, 4 * 1024, 50 * 1024],
  rounds: 5,
  roundMs: 1_000,
  inFlight: 128,
};

/**
 * Tasks per second through the dispatcher's pool, ZeroMQ and a null worker in a process of its own,
 * beside the raw PUSH/PULL round trip of the same bytes. Rounds of both alternate, so that what else
 * the machine does meets both.
 */
export async function benchBus(options: BusBenchOptions = defaults): Promise<BusFigures[]> {
  const subject = await openSubject(options.inFlight);
  const raw = await openRawPeer();
  try {
    const figures: BusFigures[] = [];
    for (const size of options.sizes) figures.push(await compare(subject, raw, size, options));
    return figures;
  } finally {
    await raw.close();
    await subject.close();
  }
}

/** The figures as a table for people. */
export function renderBusFigures(figures: readonly BusFigures[]): string {
  const table = new Table({
    head: ["mail", "tasks/s: median (min–max)", "raw round trips/s", "ratio"],
    style: { head: [], border: [] },
  });
  for (const { size, bus, raw, ratio } of figures) {
    const percent = `${(ratio * 100).toFixed(0)} %`;
    table.push([`${String(size)} B`, spreadText(bus), spreadText(raw), percent]);
  }
  return table.toString();
}

interface Subject {
  round(task: TaskToPlace, mail: Buffer, count: number): Promise<number>;
  close(): Promise<void>;
}

async function openSubject(inFlight: number): Promise<Subject> {
  let onAnswer: (lost: boolean) => void = () => undefined;
  let onCredit: () => void = () => undefined;
  const pool = await startWorkerPool({
    bind: "tcp://127.0.0.1:*",
    actorId: "bench-dispatcher",
    protection: createBusProtection(undefined),
    clock: systemClock,
    log: createLogger("bench-bus", "warn"),
    onResult: () => onAnswer(false),
    onLost: () => onAnswer(true),
    onCreditChange: () => onCredit(),
  });
  const script = fileURLToPath(new URL("null-worker.ts", import.meta.url));
  const child = spawn(process.execPath, [script, pool.endpoint, String(inFlight)], {
    stdio: ["pipe", "inherit", "inherit"],
  });
  await new Promise<void>((resolve) => {
    onCredit = () => {
      if (pool.free("virus").tasks >= inFlight) resolve();
    };
  });
  return {
    round: (task, mail, count) =>
      measure(pool, { task, mail, count, inFlight }, (answer) => {
        onAnswer = answer;
      }),
    async close() {
      await pool.close();
      child.stdin.end();
      await once(child, "exit");
    },
  };
}

/** Keeps `inFlight` tasks out until `count` are answered. Per second. */
async function measure(
  pool: WorkerPool,
  round: { task: TaskToPlace; mail: Buffer; count: number; inFlight: number },
  listen: (onAnswer: (lost: boolean) => void) => void,
): Promise<number> {
  const { task, mail, count, inFlight } = round;
  const { promise, resolve, reject } = Promise.withResolvers<undefined>();
  let placed = 0;
  let answered = 0;
  const fill = () => {
    while (placed < count && placed - answered < inFlight) {
      // No two tasks of one mail are at work at once.
      if (pool.place("virus", { ...task, mailId: newMailId() }, mail) === undefined) {
        reject(new Error("the null worker took no task"));
        return;
      }
      placed += 1;
    }
  };
  listen((lost) => {
    if (lost) reject(new Error("a task was lost"));
    answered += 1;
    if (answered === count) resolve(undefined);
    else fill();
  });
  const startMs = performance.now();
  fill();
  await promise;
  return (count * 1_000) / (performance.now() - startMs);
}

async function compare(
  subject: Subject,
  raw: RawPeer,
  size: number,
  options: BusBenchOptions,
): Promise<BusFigures> {
  const { rounds, roundMs, inFlight } = options;
  const mail = Buffer.alloc(size, "mail ");
  const task = taskOf(mail);
  const head = headOf(task);
  const warmUp = Math.min(5_000, Math.ceil(200_000_000 / (size + 10_000)));
  const perSecond = await raw.round({ head, mail, count: warmUp, inFlight });
  await subject.round(task, mail, warmUp);
  const count = Math.ceil((perSecond * roundMs) / 1_000);
  const figures = { bus: [] as number[], raw: [] as number[] };
  for (let round = 0; round < rounds; round += 1) {
    figures.raw.push(await raw.round({ head, mail, count, inFlight }));
    figures.bus.push(await subject.round(task, mail, count));
  }
  const bus = spreadOf(figures.bus);
  const beside = spreadOf(figures.raw);
  return { size, bus, raw: beside, ratio: bus.median / beside.median };
}

function taskOf(mail: Buffer): TaskToPlace {
  return {
    mailId: newMailId(),
    attempt: 1,
    sha256: sha256Hex(mail),
    size: mail.length,
    settings: {},
    settingsHash: settingsHashOf({}),
    deadlineMs: 60_000,
    smtp: {
      mailFrom: "sender@example.org",
      rcptTo: ["recipient@example.com"],
      client: { address: "192.0.2.1", name: "mx.example.org", helo: "mx.example.org" },
    },
  };
}

/** The very head frame that the pool would send for this task. */
function headOf(task: TaskToPlace): Buffer {
  const common = { v: 1, from: "bench-dispatcher", kind: "task", session: newToken() };
  const head = { ...common, ...task, taskId: newToken(), sequence: 1_000, task: "virus" };
  const [frames] = encodeMessages([{ head }]);
  return frames?.[0] ?? Buffer.alloc(0);
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      json: { type: "boolean", default: false },
      rounds: { type: "string", default: String(defaults.rounds) },
      "round-ms": { type: "string", default: String(defaults.roundMs) },
      "in-flight": { type: "string", default: String(defaults.inFlight) },
    },
  });
  const figures = await benchBus({
    sizes: defaults.sizes,
    rounds: Number(values.rounds),
    roundMs: Number(values["round-ms"]),
    inFlight: Number(values["in-flight"]),
  });
  process.stdout.write(
    values.json ? `${JSON.stringify(figures)}\n` : `${renderBusFigures(figures)}\n`,
  );
}
