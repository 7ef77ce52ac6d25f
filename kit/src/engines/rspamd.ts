import { delimiter } from "node:path";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import { freePort } from "../free-port.ts";
import { findProgram } from "../processes/find-program.ts";
import { untilAnswers, type Child } from "../processes/child.ts";
import { startSpamEngine } from "./spam-engine.ts";
import { groupName, prepareRspamdFolders, type RspamdFolders } from "./rspamd-folders.ts";
import { unprivilegedUser, type User } from "../processes/system-user.ts";

/** bin is on every user's PATH, sbin is not. */
const programDirs = ["/usr/bin", "/usr/sbin", "/usr/local/sbin"];
/**
 * rspamd does not scan as root. Debian's package brings the first of these users; the second exists
 * everywhere.
 */
const unprivilegedUsers = ["_rspamd", "nobody"];
/** Reading the rules takes 1–2 s on one quiet core, with `isFull` about 15 s. */
const startLimitMs = 180_000;
const lookEveryMs = 100;
const attempts = 2;

export interface RspamdOptions {
  /** Made if missing; holds config, log and, if rspamd's user can reach it, its state. */
  dir: string;
  /** 0 or absent: a free port. */
  port?: number;
  /** Scanning processes; each works on many mails at once. */
  processes: number;
  /** With all top-level domains and compiled expressions, as on a mail server: slow to start. */
  isFull?: boolean;
  /** Files of `local.d` by name, such as your own rules in `multimap.conf`. */
  local?: Readonly<Record<string, string>>;
  /** Progress, one short line each: what is being waited for. */
  report?: (text: string) => void;
  signal?: AbortSignal;
}

export interface RunningRspamd extends Child {
  /** `127.0.0.1:port` */
  address: string;
  port: number;
  logFile: string;
}

/**
 * Starts a private rspamd (the distribution's rules, normal workers only) with local rules, no
 * network, no Redis, and none of the host's settings. Resolves once it has answered a real check.
 * @throws TerminalError SETUP_MISSING if it is not installed, SETUP_FAILED if it does not start
 */
export async function startRspamd(options: RspamdOptions): Promise<RunningRspamd> {
  const program = await findRspamd();
  const user =
    process.getuid?.() === 0 ? await unprivilegedUser("rspamd", unprivilegedUsers) : undefined;
  options.report?.("waiting for rspamd to read its rules");
  for (let attempt = 1; ; attempt += 1) {
    const port = options.port === undefined || options.port === 0 ? await freePort() : options.port;
    const folders = await prepareRspamdFolders(options, port, user);
    try {
      return await launch(program, port, folders, user, options.signal);
    } catch (error) {
      await folders.removeOurs();
      // Another process may have taken the port between our choice and rspamd's bind.
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

async function launch(
  program: string,
  port: number,
  folders: RspamdFolders,
  user: User | undefined,
  signal: AbortSignal | undefined,
): Promise<RunningRspamd> {
  const engine = await startSpamEngine({
    name: "rspamd",
    program,
    args: await rspamdArguments(folders, user),
    logFile: folders.log,
    startLimitMs,
    untilChecks: (stopped) => untilChecks(`http://127.0.0.1:${port}/checkv2`, stopped),
    signal,
  });
  return {
    ...engine,
    address: `127.0.0.1:${port}`,
    port,
    logFile: folders.log,
    stop: async () => {
      await engine.stop();
      await folders.removeOurs();
    },
  };
}

/** rspamd(8). `-f` keeps the process in the foreground, as our child. */
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

function untilChecks(url: string, signal: AbortSignal): Promise<void> {
  const body = "From: a@example.com\r\nSubject: start\r\n\r\nstart\r\n";
  const ask = () =>
    fetch(url, { method: "POST", body, signal }).then(
      async (response) => (await response.text()).includes('"required_score"'),
      () => false,
    );
  return untilAnswers(ask, lookEveryMs, signal);
}
