import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { RetryableError, TerminalError, messageOf } from "@rs-agent/shared/errors.ts";

const stopLimitMs = 5_000;

/** What a spam engine is started with, and when it is taken to work. */
export interface EngineCommand {
  /** For a person: `spamd`. */
  name: string;
  program: string;
  args: readonly string[];
  env?: Readonly<Record<string, string>>;
  logFile: string;
  startLimitMs: number;
  /** Settles once a real check was answered; rejects when the signal aborts. */
  untilChecks: (signal: AbortSignal) => Promise<void>;
  signal: AbortSignal | undefined;
}

export interface EngineProcess {
  pid: number;
  /** Settles when the process has ended, by whatever cause. */
  ended: Promise<void>;
  stop(): Promise<void>;
}

/**
 * Starts an engine in a process group of its own: Ctrl-C in a terminal is for us, and we stop the
 * engine when its work is done.
 * @throws TerminalError SETUP_FAILED with the end of what it said
 */
export async function startEngine(command: EngineCommand): Promise<EngineProcess> {
  const { name, program, args, env, logFile } = command;
  const child = spawn(program, args, {
    stdio: ["ignore", "ignore", "pipe"],
    detached: true,
    env: { ...process.env, ...env, LANG: "C", LC_ALL: "C" },
  });
  // Its children outlive a parent that was killed, and keep the port.
  child.once("exit", () => killGroup(child));
  const complaints = keepLog(child, logFile);
  const ended = once(child, "close").then(
    () => undefined,
    () => undefined,
  );
  const stop = () => stopGroup(child, ended);
  try {
    await untilChecks(child, command);
  } catch (error) {
    await stop();
    const text = `${name} did not start: ${messageOf(error)}${complaints()}`;
    throw new TerminalError("SETUP_FAILED", text, { cause: error });
  }
  return { pid: child.pid ?? 0, ended, stop };
}

async function untilChecks(child: ChildProcess, command: EngineCommand): Promise<void> {
  const limit = AbortSignal.timeout(command.startLimitMs);
  const { signal } = command;
  const stopped = signal === undefined ? limit : AbortSignal.any([limit, signal]);
  const failed = new Promise<never>((_, reject) => {
    child.once("error", reject);
    child.once("exit", (code, by) => {
      reject(
        new RetryableError("SPAM_ENGINE_AWAY", `it ended (${by ?? `exit code ${code ?? "?"}`})`),
      );
    });
  });
  const ready = command.untilChecks(stopped);
  ready.catch(() => undefined);
  await Promise.race([ready, failed]);
}

/** Asks until the answer is as it should be. @throws what the signal aborts with */
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

/** Writes what an engine says on standard error to its log; returns the last of it, for an error. */
function keepLog(child: ChildProcess, file: string): () => string {
  const log = createWriteStream(file, { flags: "a" });
  let tail = "";
  child.stderr?.setEncoding("utf8").on("data", (text: string) => {
    log.write(text);
    tail = (tail + text).slice(-2_000);
  });
  child.once("close", () => log.end());
  return () => {
    const last = tail.trim().split("\n").slice(-3).join("\n  ");
    return last === "" ? "" : `\n  ${last}\n  (whole log: ${file})`;
  };
}

/** Ends a process that leads a group of its own, and whatever of that group is left. */
export async function stopGroup(
  child: ChildProcess,
  ended: Promise<void>,
  limitMs = stopLimitMs,
): Promise<void> {
  if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
    child.kill("SIGTERM");
    const timer = new AbortController();
    await Promise.race([ended, wait(limitMs, undefined, { signal: timer.signal })]).catch(
      () => undefined,
    );
    timer.abort();
    killGroup(child);
  }
  await ended;
}

/** The group is the child's alone. */
export function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // ESRCH: all of them have ended.
  }
}
