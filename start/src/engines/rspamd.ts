import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { delimiter } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { RetryableError, TerminalError, messageOf } from "@rs-agent/shared/errors.ts";
import { freePort } from "../free-port.ts";
import { findProgram } from "../mongodb/find-program.ts";
import { keepLog, killGroup, stopGroup } from "./engine-process.ts";
import type { User } from "./reachable-folder.ts";
import { groupName, prepareRspamdFolders, type RspamdFolders } from "./rspamd-folders.ts";
import { idsOfUser } from "./system-user.ts";

/** bin is on every user's PATH, sbin is not. */
const programDirs = ["/usr/bin", "/usr/sbin", "/usr/local/sbin"];
/** Debian's rspamd brings the first; the second is everywhere. */
const unprivilegedUsers = ["_rspamd", "nobody"];
/** Reading the rules takes 1–2 s of one quiet core; with `isFull` some 15 s. */
const startLimitMs = 180_000;
const lookEveryMs = 100;
const attempts = 2;

export interface RspamdOptions {
  /** Made where missing; holds config, log and, where rspamd's user can reach it, its state. */
  dir: string;
  /** 0 or absent: a free port. */
  port?: number;
  /** Scanning processes; each works on many mails at once. */
  processes: number;
  /** With all top-level domains and compiled expressions, as a mail server has it: slow to start. */
  isFull?: boolean;
  /** Files of `local.d` by name, such as rules of one's own in `multimap.conf`. */
  local?: Readonly<Record<string, string>>;
  /** Progress, one short line each: what is being waited for. */
  report?: (text: string) => void;
  signal?: AbortSignal;
}

export interface RunningRspamd {
  /** `127.0.0.1:port` */
  address: string;
  port: number;
  pid: number;
  logFile: string;
  /** Settles when the process has ended, by whatever cause. */
  ended: Promise<void>;
  stop(): Promise<void>;
}

/**
 * Starts a private rspamd (the distribution's rules, normal workers only): local rules, no network, no
 * Redis, nothing of the host's own settings. Settles once a real check was answered.
 * @throws TerminalError SETUP_MISSING where it is not installed, SETUP_FAILED where it does not start
 */
export async function startRspamd(options: RspamdOptions): Promise<RunningRspamd> {
  const program = await findRspamd();
  const user = process.getuid?.() === 0 ? await findUnprivilegedUser() : undefined;
  options.report?.("waiting for rspamd to read its rules");
  for (let attempt = 1; ; attempt += 1) {
    const port = options.port === undefined || options.port === 0 ? await freePort() : options.port;
    const folders = await prepareRspamdFolders(options, port, user);
    try {
      return await launch(program, port, folders, user, options.signal);
    } catch (error) {
      await folders.removeOurs();
      // Between our choice of a free port and rspamd's bind, another may have taken it.
      if (attempt >= attempts || options.signal?.aborted === true) throw error;
    }
  }
}

/** @throws TerminalError SETUP_MISSING */
async function findRspamd(): Promise<string> {
  const folders = [process.env["PATH"] ?? "", ...programDirs].join(delimiter);
  const path = await findProgram("rspamd", folders);
  if (path !== undefined) return path;
  throw new TerminalError(
    "SETUP_MISSING",
    "rspamd is not installed: apt-get install --no-install-recommends rspamd",
  );
}

/**
 * rspamd does not scan as root.
 * @throws TerminalError SETUP_MISSING
 */
async function findUnprivilegedUser(): Promise<User> {
  for (const name of unprivilegedUsers) {
    const ids = await idsOfUser(name).catch(() => undefined);
    if (ids !== undefined) return { name, ...ids };
  }
  throw new TerminalError(
    "SETUP_MISSING",
    `rspamd cannot run as root and none of these users exists: ${unprivilegedUsers.join(", ")}`,
  );
}

async function launch(
  program: string,
  port: number,
  folders: RspamdFolders,
  user: User | undefined,
  signal: AbortSignal | undefined,
): Promise<RunningRspamd> {
  const child = spawn(program, await rspamdArguments(folders, user), {
    stdio: ["ignore", "ignore", "pipe"],
    // Its own group: Ctrl-C in a terminal is for us, and we stop rspamd when its work is done.
    detached: true,
    env: { ...process.env, LANG: "C", LC_ALL: "C" },
  });
  // Its processes outlive a parent that was killed, and keep the port.
  child.once("exit", () => killGroup(child));
  const complaints = keepLog(child, folders.log);
  const ended = once(child, "close").then(
    () => undefined,
    () => undefined,
  );
  const running: RunningRspamd = {
    address: `127.0.0.1:${port}`,
    port,
    pid: child.pid ?? 0,
    logFile: folders.log,
    ended,
    stop: async () => {
      await stopGroup(child, ended);
      await folders.removeOurs();
    },
  };
  try {
    await untilChecks(port, child, signal);
  } catch (error) {
    await stopGroup(child, ended);
    throw new TerminalError(
      "SETUP_FAILED",
      `rspamd did not start: ${messageOf(error)}${complaints()}`,
      { cause: error },
    );
  }
  return running;
}

/** rspamd(8). `-f`: the process stays ours, in the foreground. */
async function rspamdArguments(folders: RspamdFolders, user: User | undefined): Promise<string[]> {
  const group = user === undefined ? undefined : await groupName(user.gid);
  const variables = Object.entries(folders.variables);
  return [
    "-f",
    `--config=${folders.configFile}`,
    ...variables.map(([name, value]) => `--var=${name}=${value}`),
    ...(user === undefined ? [] : [`--user=${user.name}`]),
    ...(group === undefined ? [] : [`--group=${group}`]),
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
  const ready = untilAnswers(`http://127.0.0.1:${port}/checkv2`, stopped);
  ready.catch(() => undefined);
  await Promise.race([ready, failed]);
}

async function untilAnswers(url: string, signal: AbortSignal): Promise<void> {
  const body = "From: a@example.com\r\nSubject: start\r\n\r\nstart\r\n";
  for (;;) {
    signal.throwIfAborted();
    const answer = await fetch(url, { method: "POST", body, signal }).then(
      (response) => response.text(),
      () => "",
    );
    if (answer.includes('"required_score"')) return;
    await wait(lookEveryMs, undefined, { signal });
  }
}
