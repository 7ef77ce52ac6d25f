import { spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import type { RunningClamd } from "@rs-agent/kit/engines/clamd.ts";
import { freePort } from "@rs-agent/kit/free-port.ts";
import { firstLine } from "../bus-raw.ts";
import type { MailServer } from "../mail-server.ts";
import { programOf, versionOf } from "./needs.ts";
import { startPostfix } from "./postfix.ts";
import { folderOf, startServer } from "./server-process.ts";

export interface RspamdMilter {
  /** `host:port` of the milter. */
  milter: string;
  pid: number;
  about: string;
  stop(): Promise<void>;
}

export interface RspamdOptions {
  /** Configuration, state and log. */
  dir: string;
  clamd: RunningClamd;
  /** How many processes scan. */
  processes: number;
}

const user = "_rspamd";

/**
 * A private rspamd as milter, as one would set it up today: Debian's rules and settings, a proxy
 * that scans itself, clamd through the antivirus module. No Redis, and a DNS that answers
 * immediately that no name exists.
 */
export async function startRspamdMilter(options: RspamdOptions): Promise<RspamdMilter> {
  const { dir } = options;
  await folderOf(dir);
  const port = await freePort();
  const dns = await startDns();
  const config = await folderOf(join(dir, "config"));
  const local = await folderOf(join(config, "local.d"));
  await folderOf(join(config, "override.d"));
  const folders = { RUNDIR: "run", DBDIR: "state", LOGDIR: "log" };
  const variables = [`--var=LOCAL_CONFDIR=${config}`];
  for (const [name, folder] of Object.entries(folders)) {
    variables.push(`--var=${name}=${await folderOf(join(dir, folder), user)}`);
  }
  for (const [file, lines] of Object.entries(settings(options, { port, dnsPort: dns.port }))) {
    writeFileSync(join(local, file), `${lines.join("\n")}\n`);
  }
  const asUser = process.getuid?.() === 0 ? ["-u", user, "-g", user] : [];
  try {
    const server = await startServer({
      program: await programOf("rspamd"),
      args: ["-f", ...asUser, "-c", "/etc/rspamd/rspamd.conf", ...variables],
      logFile: join(dir, "rspamd.out"),
      port,
    });
    const { pid, stop } = server;
    try {
      await untilCompiled(join(dir, "log", "rspamd.log"), options.processes);
    } catch (error) {
      await stop();
      throw error;
    }
    return {
      milter: `127.0.0.1:${port}`,
      pid,
      about: `${await versionOf("rspamd")}, ${options.processes} processes`,
      stop: async () => {
        await stop();
        await dns.stop();
      },
    };
  } catch (error) {
    await dns.stop();
    throw error;
  }
}

const compiledWithinMs = 120_000;

/**
 * Until its rules are compiled, it matches them the slow way. It compiles them in the background,
 * and each process says when it has them.
 */
async function untilCompiled(logFile: string, processes: number): Promise<void> {
  const loaded = /\(rspamd_proxy\).*hyperscan database .*has been loaded/g;
  const giveUpAt = performance.now() + compiledWithinMs;
  while ((readFileSync(logFile, "utf8").match(loaded) ?? []).length < processes) {
    if (performance.now() > giveUpAt) {
      throw new TerminalError("SETUP_FAILED", `rspamd has not compiled its rules, see ${logFile}`);
    }
    await wait(200);
  }
}

/** https://docs.rspamd.com/configuration/ : files of local.d, which override Debian's. */
function settings(
  { clamd, processes, dir }: RspamdOptions,
  { port, dnsPort }: { port: number; dnsPort: number },
): Record<string, string[]> {
  const off = ["enabled = false;"];
  return {
    "options.inc": [
      `dns { nameserver = ["127.0.0.1:${dnsPort}"]; }`,
      `pidfile = "${join(dir, "run", "rspamd.pid")}";`,
      `hs_cache_dir = "${join(dir, "state")}";`,
    ],
    "worker-proxy.inc": [
      `bind_socket = "127.0.0.1:${port}";`,
      "milter = yes;",
      `count = ${processes};`,
      'upstream "local" { default = yes; self_scan = yes; }',
    ],
    "worker-normal.inc": off,
    "worker-controller.inc": off,
    "worker-fuzzy.inc": off,
    // It asks the project's servers over the internet.
    "fuzzy_check.conf": off,
    "antivirus.conf": [
      "clamav {",
      '  type = "clamav";',
      '  symbol = "CLAM_VIRUS";',
      '  action = "reject";',
      // The whole mail, as clamd gets it from the others; by default only attachments.
      "  scan_mime_parts = false;",
      `  servers = "127.0.0.1:${clamd.port}";`,
      "}",
    ],
    "logging.inc": ['type = "file";', `filename = "${join(dir, "log", "rspamd.log")}";`],
  };
}

/** postfix with this rspamd as its milter, as one server that takes mail and passes it on. */
export async function startPostfixWithRspamd(options: {
  dir: string;
  sinkPort: number;
  clamd: RunningClamd;
  processes: number;
}): Promise<MailServer> {
  const { dir, sinkPort, clamd, processes } = options;
  await folderOf(dir);
  const rspamd = await startRspamdMilter({ dir: join(dir, "rspamd"), clamd, processes });
  try {
    const { milter } = rspamd;
    const postfix = await startPostfix({ dir: join(dir, "postfix"), sinkPort, milter });
    return {
      name: "postfix + rspamd",
      address: postfix.address,
      about: `${postfix.about} with ${rspamd.about}`,
      processes: () => ({ ...postfix.processes(), rspamd: [rspamd.pid], clamd: [clamd.pid] }),
      stop: async () => {
        await postfix.stop();
        await rspamd.stop();
      },
    };
  } catch (error) {
    await rspamd.stop();
    throw error;
  }
}

async function startDns(): Promise<{ port: number; stop(): Promise<void> }> {
  const script = fileURLToPath(new URL("no-such-domain.ts", import.meta.url));
  const child = spawn(process.execPath, [script], { stdio: ["pipe", "pipe", "inherit"] });
  const port = Number(await firstLine(child));
  return {
    port,
    stop: async () => {
      child.stdin.end();
      if (child.exitCode === null) await once(child, "exit");
    },
  };
}
