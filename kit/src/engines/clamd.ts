import { access, chmod, chown, constants, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { createConnection } from "node:net";
import { delimiter, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { eicar } from "@rs-agent/av-worker/eicar.ts";
import { RetryableError, TerminalError, messageOf } from "@rs-agent/shared/errors.ts";
import { freePort } from "../free-port.ts";
import { writeSignatures } from "./clamd-signatures.ts";
import { startChild, untilReady } from "../processes/child.ts";
import { idsOfUser } from "../processes/system-user.ts";

export interface ClamdOptions {
  /** An existing or new folder of our own: configuration, log, socket, temporary files. */
  dir: string;
  /** The program. Default: the `clamd` on the PATH or in /usr/sbin. */
  program?: string;
  /**
   * The folder of the signatures, e.g. `/var/lib/clamav`. Default: a few of our own, written to
   * `dir`.
   */
  databaseDir?: string;
  /** 0 or absent: a free port. */
  port?: number;
  /** The user that clamd becomes if we are root; it is given `dir`. Default: our own user. */
  user?: string;
  /** Lines of clamd.conf(5) that replace or add to ours, e.g. `{ AlertExceedsMax: "no" }`. */
  settings?: Readonly<Record<string, string>>;
  /** Told what is being waited for, once and then every 5 s. */
  report?: (text: string) => void;
  /** Loading real signatures takes 10 to 60 s. Default 180,000. */
  startTimeoutMs?: number;
  signal?: AbortSignal;
}

export interface RunningClamd extends AsyncDisposable {
  /** `127.0.0.1:port` */
  address: string;
  port: number;
  socketPath: string;
  configFile: string;
  logFile: string;
  pid: number;
  /** Settles when the process has ended, for whatever reason. */
  ended: Promise<unknown>;
  stop(): Promise<void>;
}

/**
 * Starts a private clamd on 127.0.0.1 and a unix socket. It can scan when this returns: it has
 * answered PING and found EICAR. It has a process group of its own, so that Ctrl-C on a terminal
 * does not take it away from a draining system.
 * @throws TerminalError SETUP_MISSING (not installed), RetryableError SETUP_FAILED (with its log)
 */
export async function startClamd(options: ClamdOptions): Promise<RunningClamd> {
  const program = await findClamd(options.program);
  const { dir, report = () => undefined, signal } = options;
  await mkdir(dir, { recursive: true });
  const databaseDir = options.databaseDir ?? join(dir, "signatures");
  if (options.databaseDir === undefined) await writeSignatures(databaseDir);
  const port = options.port === undefined || options.port === 0 ? await freePort() : options.port;
  const files = {
    socketPath: join(dir, "clamd.sock"),
    configFile: join(dir, "clamd.conf"),
    logFile: join(dir, "clamd.log"),
  };
  await Promise.all([files.socketPath, files.logFile].map((file) => rm(file, { force: true })));
  await writeFile(files.configFile, configuration(options, { databaseDir, port, ...files }));
  await giveTo(options.user, dir);

  const child = startChild(program, ["--config-file", files.configFile]);
  const withinMs = options.startTimeoutMs ?? 180_000;
  try {
    await untilReady(child, (signal) => untilAble(port, report, signal), { withinMs, signal });
  } catch (error) {
    const log = await readFile(files.logFile, "utf8").catch(() => "");
    const text = `clamd did not start: ${messageOf(error)}${errorLines(`${child.said()}\n${log}`)}`;
    throw new RetryableError("SETUP_FAILED", text, { cause: error });
  }
  const { pid, ended, stop } = child;
  const address = `127.0.0.1:${port}`;
  return { address, port, ...files, pid, ended, stop, [Symbol.asyncDispose]: stop };
}

async function findClamd(given: string | undefined): Promise<string> {
  const folders = [...(process.env["PATH"] ?? "").split(delimiter), "/usr/sbin", "/usr/local/sbin"];
  const inFolders = folders
    .filter((folder) => folder !== "")
    .map((folder) => join(folder, "clamd"));
  for (const file of given === undefined ? inFolders : [given]) {
    if (await isReadable(file, constants.X_OK)) return file;
  }
  throw new TerminalError(
    "SETUP_MISSING",
    "clamd is not installed; on Debian and Ubuntu: apt-get install clamav-daemon",
  );
}

async function isReadable(file: string, mode = constants.R_OK): Promise<boolean> {
  return access(file, mode).then(
    () => true,
    () => false,
  );
}

interface Places {
  databaseDir: string;
  port: number;
  socketPath: string;
  logFile: string;
}

/**
 * clamd.conf(5). clamd must report what it cannot look into (`Alert…`): by default it says `OK`.
 */
function configuration(options: ClamdOptions, places: Places): string {
  const lines: Record<string, string> = {
    Foreground: "yes",
    LogFile: places.logFile,
    LogTime: "yes",
    TemporaryDirectory: options.dir,
    DatabaseDirectory: places.databaseDir,
    LocalSocket: places.socketPath,
    LocalSocketMode: "666",
    FixStaleSocket: "yes",
    TCPAddr: "127.0.0.1",
    TCPSocket: String(places.port),
    AlertEncryptedArchive: "yes",
    AlertEncryptedDoc: "yes",
    AlertExceedsMax: "yes",
    MaxRecursion: "10",
    StreamMaxLength: "60M",
    MaxScanSize: "200M",
    // At least MaxScanSize: of a larger file in a zip clamd scans the first MaxFileSize bytes, and
    // says OK.
    MaxFileSize: "200M",
    MaxThreads: "2",
    MaxQueue: "100",
    ConcurrentDatabaseReload: "yes",
    ...(options.user !== undefined && isRoot() ? { User: options.user } : {}),
    ...options.settings,
  };
  return Object.entries(lines)
    .map(([name, value]) => `${name} ${value}\n`)
    .join("");
}

function isRoot(): boolean {
  return process.getuid?.() === 0;
}

/**
 * Makes the folder, and what we wrote there, readable and writable for the user that clamd becomes.
 */
async function giveTo(user: string | undefined, dir: string): Promise<void> {
  if (user === undefined || !isRoot()) return;
  const { uid, gid } = await idsOfUser(user);
  await chown(dir, uid, gid);
  await chmod(dir, 0o755);
}

function errorLines(text: string): string {
  const lines = text.split("\n").filter((line) => line.includes("ERROR"));
  return lines.length === 0 ? "" : `\n${[...new Set(lines)].slice(-5).join("\n")}`;
}

async function untilAble(
  port: number,
  report: (text: string) => void,
  signal: AbortSignal,
): Promise<void> {
  const startedAt = performance.now();
  for (let reportedAt = -Infinity; ;) {
    signal.throwIfAborted();
    const waitedMs = performance.now() - startedAt;
    if (waitedMs - reportedAt > 5_000) {
      const suffix = waitedMs < 1_000 ? "" : ` (${Math.round(waitedMs / 1_000)} s)`;
      report(`clamd loads its signatures${suffix}`);
      reportedAt = waitedMs;
    }
    if (await findsEicar(port)) return;
    await delay(100, undefined, { signal });
  }
}

/** PING, then a real scan: clamd answers PING before it can scan. */
async function findsEicar(port: number): Promise<boolean> {
  if ((await ask(port, Buffer.from("zPING\0"))) !== "PONG\0") return false;
  const size = Buffer.alloc(4);
  size.writeUInt32BE(eicar.length);
  const stream = Buffer.concat([Buffer.from("zINSTREAM\0"), size, eicar, Buffer.alloc(4)]);
  const reply = await ask(port, stream);
  return /^stream: [^]+ FOUND\0$/.test(reply);
}

/** One command on a connection of its own; "" for any failure. */
function ask(port: number, command: Buffer): Promise<string> {
  return new Promise((resolve) => {
    let reply = "";
    const socket = createConnection({ host: "127.0.0.1", port, timeout: 10_000 });
    socket.setEncoding("latin1").on("data", (text: string) => (reply += text));
    socket.on("timeout", () => socket.destroy());
    socket.on("error", () => (reply = ""));
    socket.on("close", () => resolve(reply));
    socket.write(command);
  });
}
