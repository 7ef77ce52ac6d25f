import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { connect } from "node:net";
import { delimiter, join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { RetryableError, TerminalError, messageOf } from "@rs-agent/shared/errors.ts";
import { freePort } from "../free-port.ts";
import { findProgram } from "../mongodb/find-program.ts";
import { keepLog, killGroup, stopGroup } from "./engine-process.ts";
import type { User } from "./reachable-folder.ts";
import { prepareFolders, userForSpamd, type Folders } from "./spamd-folders.ts";

/** sbin is not on every user's PATH. */
const programDirs = ["/usr/sbin", "/usr/local/sbin"];
/** Loading and compiling the rules takes 2–4 s of one quiet core. */
const startLimitMs = 120_000;
const lookEveryMs = 50;
const attempts = 2;

export interface SpamdOptions {
  /** Made where missing; holds config, log and, where spamd's user can reach it, its state. */
  dir: string;
  /** 0 or absent: a free port. */
  port?: number;
  /** Checks at once: each child is a process of some 100 MB. */
  children: number;
  /** Lines for local.cf behind ours, such as rules of one's own. */
  config?: readonly string[];
  /** Progress, one short line each: what is being waited for. */
  report?: (text: string) => void;
  signal?: AbortSignal;
}

export interface RunningSpamd {
  /** `127.0.0.1:port` */
  address: string;
  port: number;
  pid: number;
  /** A folder per user name (the `User` header) in which a `user_prefs` file may lie. */
  usersDir: string;
  logFile: string;
  /** Settles when the process has ended, by whatever cause. */
  ended: Promise<void>;
  stop(): Promise<void>;
}

/**
 * Starts a private spamd (SpamAssassin's own, as the distribution has it): local tests only, no
 * network, no files of the host's users, state of its own. Settles once a real check was answered.
 * @throws TerminalError SETUP_MISSING where it is not installed, SETUP_FAILED where it does not start
 */
export async function startSpamd(options: SpamdOptions): Promise<RunningSpamd> {
  const report = options.report ?? (() => undefined);
  const program = await findSpamd();
  const user = await userForSpamd();
  const folders = await prepareFolders(options, user);
  report("waiting for spamd to compile its rules");
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await launch(program, options, folders, user);
    } catch (error) {
      // Between our choice of a free port and spamd's bind, another may have taken it.
      if (attempt < attempts && options.signal?.aborted !== true) continue;
      await folders.removeOurs();
      throw error;
    }
  }
}

/** @throws TerminalError SETUP_MISSING */
async function findSpamd(): Promise<string> {
  const path = await findProgram(
    "spamd",
    [process.env["PATH"] ?? "", ...programDirs].join(delimiter),
  );
  if (path !== undefined) return path;
  throw new TerminalError(
    "SETUP_MISSING",
    "spamd is not installed: apt-get install --no-install-recommends spamd spamassassin",
  );
}

async function launch(
  program: string,
  options: SpamdOptions,
  folders: Folders,
  user: User | undefined,
): Promise<RunningSpamd> {
  const port = options.port === undefined || options.port === 0 ? await freePort() : options.port;
  const child = spawn(program, spamdArguments(port, options.children, folders, user), {
    stdio: ["ignore", "ignore", "pipe"],
    // Its own group: Ctrl-C in a terminal is for us, and we stop spamd when its work is done.
    detached: true,
    env: { ...process.env, HOME: join(folders.state, "home"), LANG: "C", LC_ALL: "C" },
  });
  // Its children outlive a parent that was killed, and keep the port.
  child.once("exit", () => killGroup(child));
  const complaints = keepLog(child, folders.log);
  const ended = once(child, "close").then(
    () => undefined,
    () => undefined,
  );
  const running: RunningSpamd = {
    address: `127.0.0.1:${port}`,
    port,
    pid: child.pid ?? 0,
    usersDir: folders.users,
    logFile: folders.log,
    ended,
    stop: async () => {
      await stopGroup(child, ended);
      await folders.removeOurs();
    },
  };
  try {
    await untilChecks(port, child, options.signal);
  } catch (error) {
    await stopGroup(child, ended);
    throw new TerminalError(
      "SETUP_FAILED",
      `spamd did not start: ${messageOf(error)}${complaints()}`,
      { cause: error },
    );
  }
  return running;
}

/** spamd(8p). Never -d: the process stays ours, in the foreground. */
function spamdArguments(
  port: number,
  children: number,
  folders: Folders,
  user: User | undefined,
): string[] {
  return [
    `--listen=127.0.0.1:${port}`,
    "--allowed-ips=127.0.0.1",
    `--siteconfigpath=${folders.config}`,
    "--local",
    "--nouser-config",
    `--helper-home-dir=${join(folders.state, "home")}`,
    "--allow-tell",
    `--max-children=${children}`,
    `--min-children=${children}`,
    "--timeout-child=90",
    "--syslog=stderr",
    ...(user === undefined
      ? []
      : [`--username=${user.name}`, `--virtual-config-dir=${folders.users}/%u`]),
  ];
}

async function untilChecks(port: number, child: ChildProcess, signal?: AbortSignal): Promise<void> {
  const limit = AbortSignal.timeout(startLimitMs);
  const stopped = signal === undefined ? limit : AbortSignal.any([limit, signal]);
  const failed = new Promise<never>((_, reject) => {
    child.once("error", reject);
    child.once("exit", (code, by) => {
      reject(
        new RetryableError("SPAM_ENGINE_AWAY", `it ended (${by ?? `exit code ${code ?? "?"}`})`),
      );
    });
  });
  const mail = "From: a@example.com\r\nSubject: start\r\n\r\nstart\r\n";
  const check = `CHECK SPAMC/1.5\r\nContent-length: ${mail.length}\r\n\r\n${mail}`;
  const ready = (async () => {
    await untilAnswers(port, "PING SPAMC/1.5\r\n\r\n", /^SPAMD\/[\d.]+ 0 PONG\r\n/, stopped);
    await untilAnswers(port, check, /^Spam: (True|False) ;/m, stopped);
  })();
  ready.catch(() => undefined);
  await Promise.race([ready, failed]);
}

async function untilAnswers(
  port: number,
  request: string,
  answer: RegExp,
  signal: AbortSignal,
): Promise<void> {
  for (;;) {
    signal.throwIfAborted();
    if (answer.test(await ask(port, request, signal).catch(() => ""))) return;
    await wait(lookEveryMs, undefined, { signal });
  }
}

async function ask(port: number, request: string, signal: AbortSignal): Promise<string> {
  const socket = connect({ host: "127.0.0.1", port });
  const abort = () => socket.destroy(new Error("stopped"));
  signal.addEventListener("abort", abort, { once: true });
  try {
    socket.end(request);
    let reply = "";
    for await (const chunk of socket.setEncoding("latin1")) reply += String(chunk);
    return reply;
  } finally {
    signal.removeEventListener("abort", abort);
    socket.destroy();
  }
}
