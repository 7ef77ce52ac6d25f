import { spawn } from "node:child_process";
import { createWriteStream } from "node:fs";
import type { Readable } from "node:stream";
import { setTimeout as wait } from "node:timers/promises";
import { messageOf } from "@rs-agent/shared/errors.ts";

/**
 * A process next to our services: an engine, a database, a peer. It leads a process group of its
 * own, so that Ctrl-C in a terminal reaches only us, and we end it when its work is done.
 */
export interface Child {
  /** 0 if it could not be started. */
  pid: number;
  stdout: Readable | null;
  /**
   * Settles when it has ended, for whatever reason, and says how: `exit code 1`, `SIGKILL`, or why
   * it did not start.
   */
  ended: Promise<string>;
  /**
   * The end of what it wrote to standard error, and to standard output unless the caller reads
   * that.
   */
  said: () => string;
  /**
   * Sends SIGTERM, and later SIGKILL to it and whatever is left of its group. Settles when it has
   * ended.
   */
  stop: () => Promise<void>;
}

export interface ChildOptions {
  /** In addition to our own. */
  env?: Readonly<Record<string, string>>;
  /** Its output is appended to this file too. */
  logFile?: string;
  /** The caller reads standard output itself. */
  readsOutput?: boolean;
  /** Time from SIGTERM to SIGKILL. Default 5,000. */
  stopWithinMs?: number;
}

const keptLength = 10_000;

export function startChild(
  program: string,
  args: readonly string[],
  options: ChildOptions = {},
): Child {
  const { env, logFile, readsOutput = false, stopWithinMs = 5_000 } = options;
  const child = spawn(program, args, {
    stdio: ["ignore", "pipe", "pipe"],
    detached: true,
    env: { ...process.env, ...env },
  });
  const log = logFile === undefined ? undefined : createWriteStream(logFile, { flags: "a" });
  let kept = "";
  for (const stream of readsOutput ? [child.stderr] : [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (text: string) => {
      log?.write(text);
      kept = (kept + text).slice(-keptLength);
    });
  }
  const killAll = () => signalGroup(child.pid, "SIGKILL");
  // Its children would outlive a killed parent, and keep the port.
  child.once("exit", killAll);
  process.once("exit", killAll);
  const ended = new Promise<string>((resolve) => {
    child.once("error", (error) => resolve(messageOf(error)));
    child.once("close", (code, signal) => resolve(signal ?? `exit code ${code ?? "?"}`));
  });
  void ended.then(() => {
    process.off("exit", killAll);
    log?.end();
  });
  return {
    pid: child.pid ?? 0,
    stdout: child.stdout,
    ended,
    said: () => kept.trim(),
    stop: async () => {
      child.kill("SIGTERM");
      const late = setTimeout(killAll, stopWithinMs);
      await ended;
      clearTimeout(late);
    },
  };
}

/** Signals a process that leads a group, and all that is left of the group. */
export function signalGroup(pid: number | undefined, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // ESRCH: all of them have ended.
  }
}

/**
 * Resolves to what `ready` gives. A child that ends first, or is not ready in time, is stopped.
 * @throws Error that says why it is not ready; what the signal aborts with
 */
export async function untilReady<T>(
  child: Child,
  ready: (signal: AbortSignal) => Promise<T>,
  { withinMs, signal }: { withinMs: number; signal?: AbortSignal | undefined },
): Promise<T> {
  const over = new AbortController();
  const limit = AbortSignal.timeout(withinMs);
  const stopped = AbortSignal.any([over.signal, limit, ...(signal === undefined ? [] : [signal])]);
  const failed = new Promise<never>((_, reject) => {
    void child.ended.then((how) => reject(new Error(`it ended (${how})`)));
    limit.onabort = () => reject(new Error(`not ready after ${Math.round(withinMs / 1_000)} s`));
  });
  try {
    return await Promise.race([failed, ready(stopped)]);
  } catch (error) {
    await child.stop();
    throw error;
  } finally {
    over.abort();
    limit.onabort = null;
  }
}

/**
 * Asks until the answer is true.
 * @throws what the signal aborts with
 */
export async function untilAnswers(
  ask: () => Promise<boolean>,
  everyMs: number,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    if (await ask()) return;
    await wait(everyMs, undefined, { signal });
  }
}
