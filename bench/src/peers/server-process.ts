import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, chownSync, closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { setTimeout as wait } from "node:timers/promises";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import { killGroup, stopGroup } from "@rs-agent/kit/processes/engine-process.ts";
import { idsOfUser } from "@rs-agent/kit/processes/system-user.ts";
import { listens } from "../smtp-sink.ts";

/** A peer's server, in the foreground and in a process group of its own. */
export interface ServerProcess {
  pid: number;
  stop: () => Promise<void>;
}

export interface ServerOptions {
  program: string;
  args: readonly string[];
  /** What it prints, and what is told where it does not start. */
  logFile: string;
  /** It is ready when it listens there. */
  port: number;
  env?: Readonly<Record<string, string>>;
}

/** rspamd compiles its regular expressions first: 10 s of a quiet core. */
const readyWithinMs = 240_000;
const stopWithinMs = 10_000;

/** @throws TerminalError SETUP_FAILED with the end of its log */
export async function startServer(options: ServerOptions): Promise<ServerProcess> {
  const { program, args, logFile, port, env } = options;
  const log = openSync(logFile, "a");
  const child = spawn(program, args, {
    stdio: ["ignore", log, log],
    detached: true,
    env: { ...process.env, LC_ALL: "C", ...env },
  });
  closeSync(log);
  const ended = once(child, "close").then(
    () => undefined,
    () => undefined,
  );
  // Its children outlive a parent that was killed, and keep the port.
  child.once("exit", () => killGroup(child));
  const killAtExit = () => killGroup(child);
  process.once("exit", killAtExit);
  const stop = async () => {
    await stopGroup(child, ended, stopWithinMs);
    process.off("exit", killAtExit);
  };
  const giveUpAt = performance.now() + readyWithinMs;
  while (!(await listens(port))) {
    const isGone = child.pid === undefined || child.exitCode !== null || child.signalCode !== null;
    if (!isGone && performance.now() < giveUpAt) {
      await wait(50);
      continue;
    }
    await stop();
    const said = readFileSync(logFile, "utf8").trim().split("\n").slice(-8).join("\n");
    throw new TerminalError("SETUP_FAILED", `${program} does not start:\n${said}`);
  }
  return { pid: child.pid ?? 0, stop };
}

/** Makes a folder that everybody may pass, and that belongs to that user where we are root. */
export async function folderOf(path: string, user?: string, mode = 0o755): Promise<string> {
  mkdirSync(path, { recursive: true });
  chmodSync(path, mode);
  if (user !== undefined && process.getuid?.() === 0) {
    const { uid, gid } = await idsOfUser(user);
    chownSync(path, uid, gid);
  }
  return path;
}
