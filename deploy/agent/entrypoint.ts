import { spawn } from "node:child_process";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { messageOf } from "@rs-agent/shared/errors.ts";
import { exit, exitWithError } from "@rs-agent/shared/lifecycle.ts";
import { programs, usage } from "./programs.ts";

/**
 * The image's entry point: runs the service or command that its first argument names inside this
 * process, which is the container's process 1, so that signals reach it. What is none of ours runs
 * as a child.
 */
const root = dirname(dirname(import.meta.dirname));
const [name, ...rest] = process.argv.slice(2);

if (name === undefined || name === "--help") process.stdout.write(usage());
else if (name in programs) await runOurs(name as keyof typeof programs);
else runOther(name);

async function runOurs(ours: keyof typeof programs): Promise<void> {
  const { file, kind } = programs[ours];
  const script = join(root, file);
  endUntilItListens(kind === "service" ? () => 0 : (signal) => 128 + constants.signals[signal]);
  process.argv = [process.execPath, script, ...rest];
  await import(pathToFileURL(script).href).catch(exitWithError);
}

/**
 * The kernel drops signals for process 1 that it does not listen to (signal(7), pid_namespaces(7)).
 * A service listens once it runs; until then it has taken on nothing and may end immediately.
 */
function endUntilItListens(exitCode: (signal: "SIGTERM" | "SIGINT") => number): void {
  for (const signal of ["SIGTERM", "SIGINT"] as const) {
    process.on(signal, () => {
      if (process.listenerCount(signal) === 1) exit(exitCode(signal));
    });
  }
}

function runOther(command: string): void {
  const child = spawn(command, rest, { stdio: "inherit" });
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) {
    process.on(signal, () => child.kill(signal));
  }
  child.once("error", (error: NodeJS.ErrnoException) => {
    process.stderr.write(`${messageOf(error)}\n\n${usage()}`);
    // As a shell has it: not found, or found and not to be run.
    exit(error.code === "ENOENT" ? 127 : 126);
  });
  child.once("exit", (code, signal) => {
    exit(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
  });
}
