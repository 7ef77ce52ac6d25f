import { chownSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import { idsOfUser } from "@rs-agent/start/engines/system-user.ts";
import { freePort } from "@rs-agent/start/free-port.ts";
import { runCommand } from "@rs-agent/start/mongodb/run-command.ts";
import type { MailServer } from "../mail-server.ts";
import { recipientDomain } from "../sample-mails.ts";
import { programOf, versionOf } from "./needs.ts";
import { folderOf, startServer } from "./server-process.ts";

export interface PostfixOptions {
  /** Configuration, queue, data and log of an instance of our own. */
  dir: string;
  sinkPort: number;
  /** `host:port` of the milter that every mail passes; absent: none. */
  milter?: string;
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
 * A private instance of postfix (http://www.postfix.org/MULTI_INSTANCE_README.html) that takes mail by
 * SMTP and relays all of it to the sink: its queue on the same disk as our database, no DNS, no limits
 * for a busy client. postfix begins as root.
 * @throws TerminalError SETUP_MISSING where we are not root
 */
export async function startPostfix(options: PostfixOptions): Promise<MailServer> {
  if (process.getuid?.() !== 0) {
    throw new TerminalError("SETUP_MISSING", "postfix can be measured by root only: it starts so");
  }
  const { dir, sinkPort, milter } = options;
  const port = await freePort();
  await folderOf(dir);
  const folders = {
    config: await folderOf(join(dir, "config")),
    queue: await folderOf(join(dir, "queue")),
    data: await folderOf(join(dir, "data"), "postfix", 0o700),
  };
  await makeQueue(folders.queue);
  const logFile = join(dir, "postfix.log");
  const main = settings(folders, { port, sinkPort, milter, logFile, dir });
  writeFileSync(
    join(folders.config, "main.cf"),
    Object.entries(main)
      .map(([name, value]) => `${name} = ${value}\n`)
      .join(""),
  );
  writeFileSync(join(folders.config, "master.cf"), services(port));
  const { pid, stop } = await startServer({
    program: join(await daemonFolder(), "master"),
    args: ["-c", folders.config, "-d"],
    logFile: join(dir, "master.log"),
    port,
  });
  return {
    name: "postfix",
    address: `127.0.0.1:${port}`,
    about: await versionOf("postfix"),
    processes: () => ({ postfix: [pid] }),
    stop,
  };
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

/** postconf(5). */
function settings(
  folders: { config: string; queue: string; data: string },
  {
    sinkPort,
    milter,
    logFile,
    dir,
  }: { port: number; sinkPort: number; milter: string | undefined; logFile: string; dir: string },
): Record<string, string> {
  return {
    compatibility_level: "3.6",
    queue_directory: folders.queue,
    data_directory: folders.data,
    mail_owner: "postfix",
    setgid_group: group,
    inet_interfaces: "127.0.0.1",
    inet_protocols: "ipv4",
    myhostname: `postfix.${recipientDomain}`,
    mydestination: "",
    mynetworks: "127.0.0.0/8",
    relayhost: `[127.0.0.1]:${sinkPort}`,
    smtp_host_lookup: "native",
    smtp_dns_support_level: "disabled",
    smtpd_peername_lookup: "no",
    smtpd_relay_restrictions: "permit_mynetworks, reject",
    local_recipient_maps: "",
    alias_maps: "",
    alias_database: "",
    notify_classes: "",
    smtpd_client_connection_count_limit: "0",
    default_process_limit: "100",
    // Larger than the mails of `big`.
    message_size_limit: "104857600",
    maillog_file: logFile,
    maillog_file_prefixes: dir,
    ...(milter === undefined
      ? {}
      : {
          smtpd_milters: `inet:${milter}`,
          milter_default_action: "tempfail",
          milter_protocol: "6",
        }),
  };
}

/** master(5): what relaying needs, none of it in a chroot. */
function services(port: number): string {
  return [
    `127.0.0.1:${port} inet n - n - - smtpd`,
    "cleanup unix n - n - 0 cleanup",
    "qmgr unix n - n 300 1 qmgr",
    "tlsmgr unix - - n 1000? 1 tlsmgr",
    "rewrite unix - - n - - trivial-rewrite",
    "bounce unix - - n - 0 bounce",
    "defer unix - - n - 0 bounce",
    "trace unix - - n - 0 bounce",
    "verify unix - - n - 1 verify",
    "flush unix n - n 1000? 0 flush",
    "proxymap unix - - n - - proxymap",
    "smtp unix - - n - - smtp",
    "relay unix - - n - - smtp",
    "error unix - - n - - error",
    "retry unix - - n - - error",
    "discard unix - - n - - discard",
    "anvil unix - - n - 1 anvil",
    "scache unix - - n - 1 scache",
    "postlog unix-dgram n - n - 1 postlogd",
    "",
  ].join("\n");
}

async function daemonFolder(): Promise<string> {
  const postconf = await programOf("postconf");
  const asked = ["-hd", "daemon_directory"];
  const { ok, output } = await runCommand(postconf, asked, { silenceMs: 10_000 });
  if (!ok) throw new TerminalError("SETUP_FAILED", `postconf: ${output}`);
  return output.trim();
}
