import { connect } from "node:net";
import { delimiter, join } from "node:path";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import { freePort } from "../free-port.ts";
import { findProgram } from "../processes/find-program.ts";
import { untilAnswers, type Child } from "../processes/child.ts";
import type { User } from "../processes/system-user.ts";
import { startSpamEngine } from "./spam-engine.ts";
import { prepareFolders, userForSpamd, type Folders } from "./spamd-folders.ts";

/** sbin is not on every user's PATH. */
const programDirs = ["/usr/sbin", "/usr/local/sbin"];
/** Loading and compiling the rules takes 2–4 s on one quiet core. */
const startLimitMs = 120_000;
const lookEveryMs = 50;
const attempts = 2;

export interface SpamdOptions {
  /** Made if missing; holds config, log and, if spamd's user can reach it, its state. */
  dir: string;
  /** 0 or absent: a free port. */
  port?: number;
  /** Checks at once: each child is a process of about 100 MB. */
  children: number;
  /** Lines for local.cf after ours, such as your own rules. */
  config?: readonly string[];
  /** Progress, one short line each: what is being waited for. */
  report?: (text: string) => void;
  signal?: AbortSignal;
}

export interface RunningSpamd extends Child {
  /** `127.0.0.1:port` */
  address: string;
  port: number;
  /** One folder per user name (the `User` header), which may hold a `user_prefs` file. */
  usersDir: string;
  /** Its rules: lists of plugins and local.cf. */
  configDir: string;
  logFile: string;
}

/**
 * Starts a private spamd (the distribution's SpamAssassin): local tests only, no network, no files
 * of the host's users, state of its own. Resolves once it has answered a real check.
 * @throws TerminalError SETUP_MISSING if it is not installed, SETUP_FAILED if it does not start
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
      // Another process may have taken the port between our choice and spamd's bind.
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
  const engine = await startSpamEngine({
    name: "spamd",
    program,
    args: spamdArguments(port, options.children, folders, user),
    env: { HOME: join(folders.state, "home") },
    logFile: folders.log,
    startLimitMs,
    untilChecks: (signal) => untilChecks(port, signal),
    signal: options.signal,
  });
  return {
    ...engine,
    address: `127.0.0.1:${port}`,
    port,
    usersDir: folders.users,
    configDir: folders.config,
    logFile: folders.log,
    stop: async () => {
      await engine.stop();
      await folders.removeOurs();
    },
  };
}

/** spamd(8p). Never -d: the process stays in the foreground, as our child. */
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

async function untilChecks(port: number, signal: AbortSignal): Promise<void> {
  const mail = "From: a@example.com\r\nSubject: start\r\n\r\nstart\r\n";
  const check = `CHECK SPAMC/1.5\r\nContent-length: ${mail.length}\r\n\r\n${mail}`;
  const until = (request: string, answer: RegExp) =>
    untilAnswers(
      async () => answer.test(await ask(port, request, signal).catch(() => "")),
      lookEveryMs,
      signal,
    );
  await until("PING SPAMC/1.5\r\n\r\n", /^SPAMD\/[\d.]+ 0 PONG\r\n/);
  await until(check, /^Spam: (True|False) ;/m);
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
