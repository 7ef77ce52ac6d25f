import { chownSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import { idsOfUser } from "@rs-agent/kit/processes/system-user.ts";
import { runCommand } from "@rs-agent/kit/processes/run-command.ts";
import { programOf } from "./needs.ts";
import { folderOf, startServer, type ServerProcess } from "./server-process.ts";

export interface PostfixInstanceOptions {
  /** Configuration, queue, data and log of an instance of our own. */
  dir: string;
  /** It is running when it listens there. */
  port: number;
  /** Lines of main.cf (postconf(5)) that follow those that isolate the instance. */
  main: string;
  /** master.cf (master(5)). */
  master: string;
}

export interface PostfixInstance extends ServerProcess {
  /** For MAIL_CONFIG and `-c`. */
  configDir: string;
  logFile: string;
}

/** The queue's folders with their modes, as Debian's postfix-files has them. */
const queueFolders: Record<string, number> = {
  active: 0o700,
  bounce: 0o700,
  corrupt: 0o700,
  defer: 0o700,
  deferred: 0o700,
  flush: 0o700,
  hold: 0o700,
  incoming: 0o700,
  private: 0o700,
  saved: 0o700,
  trace: 0o700,
};
const group = "postdrop";

/**
 * A private instance of postfix (http://www.postfix.org/MULTI_INSTANCE_README.html) that uses no
 * DNS and knows nothing of one that may run on this host. postfix must be started by root.
 * @throws TerminalError SETUP_MISSING if we are not root
 */
export async function startPostfixInstance(
  options: PostfixInstanceOptions,
): Promise<PostfixInstance> {
  if (process.getuid?.() !== 0) {
    throw new TerminalError("SETUP_MISSING", "only root can start postfix");
  }
  const { dir, port } = options;
  await folderOf(dir);
  const folders = {
    config: await folderOf(join(dir, "config")),
    queue: await folderOf(join(dir, "queue")),
    data: await folderOf(join(dir, "data"), "postfix", 0o700),
  };
  await makeQueue(folders.queue);
  const logFile = join(dir, "postfix.log");
  const base = Object.entries(ownPlaces(folders, logFile, dir));
  const lines = base.map(([name, value]) => `${name} = ${value}\n`).join("");
  writeFileSync(join(folders.config, "main.cf"), lines + options.main);
  writeFileSync(join(folders.config, "master.cf"), options.master);
  const server = await startServer({
    program: join(await daemonFolder(), "master"),
    args: ["-c", folders.config, "-d"],
    logFile: join(dir, "master.log"),
    port,
  });
  return { ...server, configDir: folders.config, logFile };
}

async function makeQueue(queue: string): Promise<void> {
  for (const [name, mode] of Object.entries(queueFolders)) {
    await folderOf(join(queue, name), "postfix", mode);
  }
  await folderOf(join(queue, "pid"));
  const gid = groupId(group);
  const { uid } = await idsOfUser("postfix");
  for (const [name, mode] of [
    ["public", 0o2710],
    ["maildrop", 0o1730],
  ] as const) {
    const folder = await folderOf(join(queue, name), "postfix", mode);
    chownSync(folder, uid, gid);
    await folderOf(folder, undefined, mode);
  }
}

function groupId(name: string): number {
  const line = readFileSync("/etc/group", "utf8")
    .split("\n")
    .find((entry) => entry.startsWith(`${name}:`));
  if (line === undefined) throw new TerminalError("SETUP_MISSING", `there is no group ${name}`);
  return Number(line.split(":")[2]);
}

function ownPlaces(
  folders: { config: string; queue: string; data: string },
  logFile: string,
  dir: string,
): Record<string, string> {
  return {
    compatibility_level: "3.6",
    queue_directory: folders.queue,
    data_directory: folders.data,
    mail_owner: "postfix",
    setgid_group: group,
    inet_interfaces: "127.0.0.1",
    inet_protocols: "ipv4",
    smtp_host_lookup: "native",
    smtp_dns_support_level: "disabled",
    smtpd_peername_lookup: "no",
    alias_maps: "",
    alias_database: "",
    notify_classes: "",
    maillog_file: logFile,
    maillog_file_prefixes: dir,
  };
}

async function daemonFolder(): Promise<string> {
  const postconf = await programOf("postconf");
  const asked = ["-hd", "daemon_directory"];
  const { ok, output } = await runCommand(postconf, asked, { silenceMs: 10_000 });
  if (!ok) throw new TerminalError("SETUP_FAILED", `postconf: ${output}`);
  return output.trim();
}
