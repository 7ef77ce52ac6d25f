import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { stat } from "node:fs/promises";
import { constants } from "node:os";
import { createInterface } from "node:readline";
import { setTimeout as wait } from "node:timers/promises";
import type { Logger } from "@rs-agent/shared/logger.ts";

/*
 * A worker and its engine in one container.
 *
 * 1. A signal goes to the worker alone; the engine is stopped once the worker has drained and ended.
 * 2. An engine that ends is started again. The worker lives on, sees it and says so.
 * 3. A worker that ends ends the pair with its exit code.
 * 4. If the engine cannot load new rules without a break, the pair drains and ends with 0 when
 *    they are there; the container's restart policy brings it back with them.
 */

export interface Program {
  file: string;
  args: readonly string[];
}

export interface BesideOptions {
  worker: Program;
  engine: Program;
  log: Logger;
  /** A file that is written when the engine is to be started again with new rules. */
  renewFile?: string;
  /** Between two looks at `renewFile`. */
  lookEveryMs: number;
  /** A renewal waits some random part of this, so that not all pairs drain at once. */
  renewSpreadMs: number;
  /** The engine has this long to end, then it is killed. */
  engineStopMs: number;
  /** Before the engine is started again: first, and at most (it doubles). */
  backoffMs: { first: number; most: number };
}

export interface RunningPair {
  /** Settles with the worker's exit code once both have ended. */
  readonly ended: Promise<number>;
  signal(name: "SIGTERM" | "SIGINT"): void;
}

const settledMs = 60_000;

export function startBeside(options: BesideOptions): RunningPair {
  const { worker, log } = options;
  const stopping = new AbortController();
  const engineEnded = keepEngine(options, stopping.signal);
  const child = spawn(worker.file, worker.args, { stdio: "inherit" });
  if (options.renewFile !== undefined) {
    void whenRenewed(options, options.renewFile, stopping.signal).then((isRenewed) => {
      if (!isRenewed) return;
      log.info({ file: options.renewFile }, "draining, to start again with the new rules");
      child.kill("SIGTERM");
    });
  }
  const ended = exitCodeOf(child).then(async (exitCode) => {
    stopping.abort();
    await engineEnded;
    return exitCode;
  });
  return { ended, signal: (name) => child.kill(name) };
}

/** The worker's exit code as a shell tells it. */
async function exitCodeOf(child: ChildProcess): Promise<number> {
  const [code, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
  return code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
}

/** Settles when the engine has been stopped. */
async function keepEngine(options: BesideOptions, stopping: AbortSignal): Promise<void> {
  const { log, backoffMs } = options;
  let pauseMs = backoffMs.first;
  for (;;) {
    const startedAt = performance.now();
    const end = await runEngine(options, stopping);
    if (stopping.aborted) return;
    if (performance.now() - startedAt > settledMs) pauseMs = backoffMs.first;
    log.warn({ end, pauseMs }, "the engine ended, it is started again");
    try {
      await wait(pauseMs, undefined, { signal: stopping });
    } catch {
      return;
    }
    pauseMs = Math.min(pauseMs * 2, backoffMs.most);
  }
}

/** One life of the engine; settles with how it ended. */
async function runEngine(options: BesideOptions, stopping: AbortSignal): Promise<string> {
  const { engine, log, engineStopMs } = options;
  // A group of its own: its helpers end with it.
  const child = spawn(engine.file, engine.args, {
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
  });
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on("line", (line) => log.info(line));
  }
  const ended = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(signal ?? `exit code ${String(code)}`));
  });
  let killing: NodeJS.Timeout | undefined;
  const stop = () => {
    killGroup(child, "SIGTERM");
    killing = setTimeout(() => killGroup(child, "SIGKILL"), engineStopMs);
  };
  if (stopping.aborted) stop();
  else stopping.addEventListener("abort", stop, { once: true });
  const end = await ended;
  stopping.removeEventListener("abort", stop);
  clearTimeout(killing);
  killGroup(child, "SIGKILL");
  return end;
}

function killGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // ESRCH: all of them have ended.
  }
}

/** False if the pair ends before anything is new. */
async function whenRenewed(
  { lookEveryMs, renewSpreadMs }: BesideOptions,
  file: string,
  stopping: AbortSignal,
): Promise<boolean> {
  const before = await writtenAt(file);
  try {
    while ((await writtenAt(file)) <= before) {
      await wait(lookEveryMs, undefined, { signal: stopping });
    }
    await wait(Math.random() * renewSpreadMs, undefined, { signal: stopping });
    return true;
  } catch {
    return false;
  }
}

/** Milliseconds; a file that is not there was never written. */
async function writtenAt(file: string): Promise<number> {
  return stat(file).then(
    ({ mtimeMs }) => mtimeMs,
    () => 0,
  );
}
