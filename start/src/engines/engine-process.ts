import type { ChildProcess } from "node:child_process";
import { createWriteStream } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";

const stopLimitMs = 5_000;

/** Writes what an engine says on standard error to its log; returns the last of it, for an error. */
export function keepLog(child: ChildProcess, file: string): () => string {
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

/** Ends an engine that leads a process group of its own, and whatever of that group is left. */
export async function stopGroup(child: ChildProcess, ended: Promise<void>): Promise<void> {
  if (child.pid !== undefined && child.exitCode === null && child.signalCode === null) {
    child.kill("SIGTERM");
    const timer = new AbortController();
    await Promise.race([ended, wait(stopLimitMs, undefined, { signal: timer.signal })]).catch(
      () => undefined,
    );
    timer.abort();
    killGroup(child);
  }
  await ended;
}

/** The group is the engine's alone. */
export function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, "SIGKILL");
  } catch {
    // ESRCH: all of them have ended.
  }
}
