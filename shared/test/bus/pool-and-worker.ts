import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { Writable } from "node:stream";
import { fileURLToPath } from "node:url";
import { pino, type Logger } from "pino";
import { onTestFinished, vi } from "vitest";
import { createBusProtection } from "../../src/bus/protection.ts";
import type { BusTiming } from "../../src/bus/timing.ts";
import {
  startWorkerPool,
  type LostTask,
  type TaskResult,
  type TaskToPlace,
  type WorkerPool,
  type WorkerPoolDeps,
} from "../../src/bus/worker-pool.ts";
import { systemClock } from "../../src/clock.ts";
import { loadConfig } from "../../src/config.ts";
import { newMailId, sha256Hex } from "../../src/ids.ts";
import { settingsHashOf } from "../../src/mail/task-settings.ts";
import { workerConfigSchema } from "../../src/worker/config.ts";
import type { TaskHandler } from "../../src/worker/handler.ts";
import { startWorker, type WorkerDeps, type WorkerHandle } from "../../src/worker/worker.ts";

/** The bus at several times its speed; tests of the real times say so. */
export const fastTiming: BusTiming = {
  heartbeatMs: 100,
  silentMs: 600,
  deadMs: 1_800,
  sweepMs: 25,
  graceMs: 200,
  resolveMs: 200,
  stuckMs: 1_000,
};

/** A log whose lines a test can inspect. */
export function createMemoryLog(): { log: Logger; lines: Record<string, unknown>[] } {
  const lines: Record<string, unknown>[] = [];
  const stream = new Writable({
    write(chunk: Buffer, _encoding, done) {
      lines.push(JSON.parse(chunk.toString()) as Record<string, unknown>);
      done();
    },
  });
  return { log: pino({ level: "debug" }, stream), lines };
}

export interface ObservedPool {
  pool: WorkerPool;
  results: TaskResult[];
  lost: LostTask[];
  lines: Record<string, unknown>[];
}

/** A pool on a free port that keeps its answers. Closed when the test is over. */
export async function openPool(deps: Partial<WorkerPoolDeps> = {}): Promise<ObservedPool> {
  const results: TaskResult[] = [];
  const lost: LostTask[] = [];
  const { log, lines } = createMemoryLog();
  const pool = await startWorkerPool({
    bind: "tcp://127.0.0.1:*",
    actorId: "dispatcher-1",
    protection: createBusProtection(undefined),
    clock: systemClock,
    log,
    timing: fastTiming,
    onResult: (result) => results.push(result),
    onLost: (task) => lost.push(task),
    ...deps,
  });
  onTestFinished(() => pool.close());
  return { pool, results, lost, lines };
}

/** A virus handler that finds everything clean immediately, except for what a test replaces. */
export function createHandler(parts: Partial<TaskHandler> = {}): TaskHandler {
  return {
    kind: "virus",
    concurrency: () => 4,
    handle: () => Promise.resolve({ output: { kind: "clean" } }),
    canary: () => Promise.resolve({ able: true }),
    close: () => Promise.resolve(),
    ...parts,
  };
}

/** A worker in this process for these dispatchers. Closed when the test is over. */
export function openWorker(
  dispatchers: string | readonly string[],
  deps: Partial<Omit<WorkerDeps, "config">> & { env?: Record<string, string> } = {},
): { worker: WorkerHandle; lines: Record<string, unknown>[] } {
  const { log, lines } = createMemoryLog();
  const { env, ...rest } = deps;
  const worker = startWorker({
    config: loadConfig(workerConfigSchema, {
      ACTOR_ID: "virus-1",
      BUS_DISPATCHERS: [dispatchers].flat().join(","),
      ...env,
    }),
    handler: createHandler(),
    clock: systemClock,
    log,
    timing: fastTiming,
    ...rest,
  });
  onTestFinished(() => worker.close());
  return { worker, lines };
}

/** A worker process: `child-worker.ts` with this behaviour. Killed when the test is over. */
export function spawnWorker(dispatcher: string, behaviour: "hold" | "hang" | "busy"): ChildProcess {
  const script = fileURLToPath(new URL("child-worker.ts", import.meta.url));
  const child = spawn(process.execPath, [script, dispatcher, behaviour], {
    stdio: ["ignore", "ignore", "inherit"],
  });
  onTestFinished(async () => {
    if (child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });
  return child;
}

/** Resolves when the pool may place this many tasks. */
export async function untilFree(pool: WorkerPool, tasks = 1): Promise<void> {
  await vi.waitFor(() => {
    if (pool.free("virus").tasks < tasks) throw new Error("no credit yet");
  });
}

export function virusTask(mail: Buffer, parts: Partial<TaskToPlace> = {}): TaskToPlace {
  return {
    mailId: newMailId(),
    attempt: 1,
    sha256: sha256Hex(mail),
    size: mail.length,
    settings: {},
    settingsHash: settingsHashOf({}),
    deadlineMs: 20_000,
    smtp: {
      mailFrom: "a@example.org",
      rcptTo: ["b@example.com"],
      client: { address: "192.0.2.1", name: "mx.example.org", helo: "mx.example.org" },
    },
    ...parts,
  };
}
