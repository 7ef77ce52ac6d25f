import { once } from "node:events";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { performance } from "node:perf_hooks";
import { fileURLToPath } from "node:url";
import Table from "cli-table3";
import { encodeMessages } from "@rs-agent/shared/bus/codec.ts";
import { createCurveKey, formatSecretFile } from "@rs-agent/shared/bus/curve-key.ts";
import { openBusProtection, type ProtectionSettings } from "@rs-agent/shared/bus/protection.ts";
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
import { readOptions } from "./options.ts";
import {
  judge,
  judgementText,
  medianInterval,
  spreadOf,
  spreadText,
  type AtLeast,
  type Interval,
  type Judgement,
  type Spread,
} from "./spread.ts";

export interface BusBenchOptions {
  /** Sizes of the mails, in bytes. */
  sizes: readonly number[];
  /** How many null workers, each a process of its own, share what is in flight. */
  workers: readonly number[];
  rounds: number;
  /** About how many milliseconds a round should take. */
  roundMs: number;
  /** Tasks unanswered at once, on the bus as in the raw round. */
  inFlight: number;
}

/** Per second, for one number of workers and one size of mail. */
export interface BusFigures {
  workers: number;
  size: number;
  bus: Spread;
  raw: Spread;
  /** Over the rounds, each divided by the raw round next to it. */
  ratio: Spread & Judgement<AtLeast> & { interval?: Interval };
  /** The bus with CURVE keys, and its share of the rate without (by the medians). */
  keyed: Spread;
  keyedRatio: number;
}

const defaults: BusBenchOptions = {
  sizes: [200, 4 * 1024, 50 * 1024],
  workers: [1, 4],
  rounds: 7,
  roundMs: 1_000,
  inFlight: 128,
};

/**
 * What is demanded of the ratio: a small task is mostly head, which the raw round does not read.
 */
const smallBytes = 1024;
const leastSmall = 0.7;
const least = 0.9;

/**
 * Tasks per second through the dispatcher's pool, ZeroMQ and null workers in processes of their
 * own, next to the raw PUSH/PULL round trip of the same bytes and to the bus with CURVE keys.
 * Rounds of all three alternate, so that other work of the machine affects them all.
 */
export async function benchBus(options: BusBenchOptions = defaults): Promise<BusFigures[]> {
  const figures: BusFigures[] = [];
  for (const workers of options.workers) figures.push(...(await benchWorkers(workers, options)));
  return figures;
}

async function benchWorkers(workers: number, options: BusBenchOptions): Promise<BusFigures[]> {
  const keys = makeKeys();
  const crew = { workers, inFlight: options.inFlight };
  const subjects = {
    bus: await openSubject(crew, {}, {}),
    keyed: await openSubject(crew, keys.dispatcher, keys.worker),
  };
  const raw = await openRawPeer();
  try {
    const figures: BusFigures[] = [];
    for (const size of options.sizes) {
      figures.push({ workers, size, ...(await compare(subjects, raw, size, options)) });
    }
    return figures;
  } finally {
    await raw.close();
    await subjects.bus.close();
    await subjects.keyed.close();
    keys.remove();
  }
}

/** The figures as a table for people. */
export function renderBusFigures(figures: readonly BusFigures[]): string {
  const table = new Table({
    head: [
      "workers",
      "mail",
      "tasks/s: median (min–max)",
      "raw round trips/s",
      "ratio",
      "tasks/s with keys",
      "left",
    ],
    style: { head: [], border: [] },
  });
  const percent = (ratio: number) => `${(ratio * 100).toFixed(0)} %`;
  for (const { workers, size, bus, raw, ratio, keyed, keyedRatio } of figures) {
    const judged = `${spreadText(ratio, 2)}\n${judgementText(ratio)}`;
    const plain = [spreadText(bus), spreadText(raw), judged];
    const what = [String(workers), `${String(size)} B`];
    table.push([...what, ...plain, spreadText(keyed), percent(keyedRatio)]);
  }
  return table.toString();
}

interface Subject {
  round(task: TaskToPlace, mail: Buffer, count: number): Promise<number>;
  close(): Promise<void>;
}

/** Settings of a dispatcher and a worker, each with its key. */
function makeKeys() {
  const folder = mkdtempSync(join(tmpdir(), "bench-bus-"));
  const BUS_ALLOW_FILE = join(folder, "allow.yaml");
  const keys: { name: string; publicKey: string; kinds: string[] }[] = [];
  const settingsOf = (kind: string) => {
    const key = createCurveKey();
    const BUS_KEY_FILE = join(folder, `${kind}.key`);
    writeFileSync(BUS_KEY_FILE, formatSecretFile(key, kind, new Date()), { mode: 0o600 });
    keys.push({ name: kind, publicKey: key.publicKey, kinds: [kind] });
    return { BUS_KEY_FILE, BUS_ALLOW_FILE };
  };
  const made = { dispatcher: settingsOf("dispatcher"), worker: settingsOf("av-worker") };
  writeFileSync(BUS_ALLOW_FILE, JSON.stringify({ keys }));
  return { ...made, remove: () => rmSync(folder, { recursive: true }) };
}

async function openSubject(
  { workers, inFlight }: { workers: number; inFlight: number },
  dispatcherKeys: ProtectionSettings,
  workerKeys: Record<string, string>,
): Promise<Subject> {
  let onAnswer: (lost: boolean) => void = () => undefined;
  let onCredit: () => void = () => undefined;
  const clock = systemClock;
  const log = createLogger("bench-bus", "warn");
  const protection = openBusProtection(dispatcherKeys, { kind: "dispatcher", clock, log });
  const pool = await startWorkerPool({
    bind: "tcp://127.0.0.1:*",
    actorId: "bench-dispatcher",
    protection,
    clock,
    log,
    onResult: () => onAnswer(false),
    onLost: () => onAnswer(true),
    onCreditChange: () => onCredit(),
  });
  const script = fileURLToPath(new URL("null-worker.ts", import.meta.url));
  const tasksOfOne = String(Math.ceil(inFlight / workers));
  const children = Array.from({ length: workers }, () =>
    spawn(process.execPath, [script, pool.endpoint, tasksOfOne], {
      stdio: ["pipe", "inherit", "inherit"],
      env: { ...process.env, ...workerKeys },
    }),
  );
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
      protection.close();
      const exits = children.map((child) => once(child, "exit"));
      for (const { stdin } of children) stdin.end();
      await Promise.all(exits);
    },
  };
}

/** Keeps `inFlight` tasks out until `count` are answered. Returns tasks per second. */
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
      // Two tasks of one mail are never worked on at once.
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
  subjects: { bus: Subject; keyed: Subject },
  raw: RawPeer,
  size: number,
  options: BusBenchOptions,
): Promise<Omit<BusFigures, "workers" | "size">> {
  const { rounds, roundMs, inFlight } = options;
  const mail = Buffer.alloc(size, "mail ");
  const task = taskOf(mail);
  const head = headOf(task);
  const warmUp = Math.min(5_000, Math.ceil(200_000_000 / (size + 10_000)));
  const perSecond = await raw.round({ head, mail, count: warmUp, inFlight });
  await subjects.bus.round(task, mail, warmUp);
  await subjects.keyed.round(task, mail, warmUp);
  const count = Math.ceil((perSecond * roundMs) / 1_000);
  const figures = { bus: [] as number[], raw: [] as number[], keyed: [] as number[] };
  for (let round = 0; round < rounds; round += 1) {
    figures.raw.push(await raw.round({ head, mail, count, inFlight }));
    figures.bus.push(await subjects.bus.round(task, mail, count));
    figures.keyed.push(await subjects.keyed.round(task, mail, count));
  }
  const bus = spreadOf(figures.bus);
  const ratios = figures.bus.map((perSecond, n) => perSecond / (figures.raw[n] ?? Number.NaN));
  const interval = medianInterval(ratios);
  const keyed = spreadOf(figures.keyed);
  return {
    bus,
    raw: spreadOf(figures.raw),
    ratio: {
      ...spreadOf(ratios),
      ...judge(ratios, { least: size <= smallBytes ? leastSmall : least }),
      ...(interval === undefined ? {} : { interval }),
    },
    keyed,
    keyedRatio: keyed.median / bus.median,
  };
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

/** Exactly the head frame that the pool would send for this task. */
function headOf(task: TaskToPlace): Buffer {
  const common = { v: 1, from: "bench-dispatcher", kind: "task", session: newToken() };
  const head = { ...common, ...task, taskId: newToken(), sequence: 1_000, task: "virus" };
  const [frames] = encodeMessages([{ head }]);
  return frames?.[0] ?? Buffer.alloc(0);
}

if (import.meta.main) {
  const options = readOptions({
    workers: defaults.workers,
    rounds: defaults.rounds,
    "round-ms": defaults.roundMs,
    "in-flight": defaults.inFlight,
  });
  const figures = await benchBus({
    sizes: defaults.sizes,
    workers: options.workers,
    rounds: options.rounds,
    roundMs: options["round-ms"],
    inFlight: options["in-flight"],
  });
  process.stdout.write(
    options.json ? `${JSON.stringify(figures)}\n` : `${renderBusFigures(figures)}\n`,
  );
}
