import { chmodSync, chownSync, mkdirSync } from "node:fs";
import { messageOf, TerminalError } from "@rs-agent/shared/errors.ts";
import { listens } from "@rs-agent/kit/free-port.ts";
import { startChild, type Child, untilAnswers, untilReady } from "@rs-agent/kit/processes/child.ts";
import { idsOfUser } from "@rs-agent/kit/processes/system-user.ts";

/** A peer's server, in the foreground. */
export type ServerProcess = Pick<Child, "pid" | "stop">;

export interface ServerOptions {
  program: string;
  args: readonly string[];
  /** Takes what it prints, which is quoted if it does not start. */
  logFile: string;
  /** It is ready when it listens there. */
  port: number;
  env?: Readonly<Record<string, string>>;
}

/** rspamd first compiles its regular expressions, which takes 10 s on a quiet core. */
const readyWithinMs = 240_000;
const stopWithinMs = 10_000;

/** @throws TerminalError SETUP_FAILED with the end of its log */
export async function startServer(options: ServerOptions): Promise<ServerProcess> {
  const { program, args, logFile, port, env } = options;
  const child = startChild(program, args, {
    env: { LC_ALL: "C", ...env },
    logFile,
    stopWithinMs,
  });
  const listening = (signal: AbortSignal) => untilAnswers(() => listens(port), 50, signal);
  try {
    await untilReady(child, listening, { withinMs: readyWithinMs });
    return child;
  } catch (error) {
    const said = child.said().split("\n").slice(-8).join("\n");
    const text = `${program} does not start: ${messageOf(error)}\n${said}`;
    throw new TerminalError("SETUP_FAILED", text, { cause: error });
  }
}

/** Makes a folder that everybody may enter, and that belongs to that user if we are root. */
export async function folderOf(path: string, user?: string, mode = 0o755): Promise<string> {
  mkdirSync(path, { recursive: true });
  chmodSync(path, mode);
  if (user !== undefined && process.getuid?.() === 0) {
    const { uid, gid } = await idsOfUser(user);
    chownSync(path, uid, gid);
  }
  return path;
}
