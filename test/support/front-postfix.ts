import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chownSync, readFileSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { connect } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { idsOfUser } from "@rs-agent/kit/processes/system-user.ts";
import {
  startPostfixInstance,
  type PostfixInstance,
} from "../../bench/src/peers/postfix-instance.ts";
import { folderOf } from "../../bench/src/peers/server-process.ts";

/** Ports of 127.0.0.1 in place of those that docs/postfix.md names. */
export interface FrontPorts {
  /** Its port 25. */
  smtp: number;
  /** Its port 587. */
  submission: number;
  /** Of ingest, in place of 2525 and 2526. */
  incoming: number;
  outgoing: number;
  /** In place of 10026. */
  back: number;
}

export interface FrontPostfixOptions {
  dir: string;
  ports: FrontPorts;
  /** Lines of main.cf that follow those of the page. */
  main: string;
  user: { name: string; domain: string; password: string };
}

export interface FrontPostfix extends PostfixInstance {
  /** Hands a mail in as local programs do: `sendmail -t`. */
  sendmail(mail: string): Promise<void>;
  log(): Promise<string>;
}

/**
 * A Postfix whose configuration is Debian's master.cf and the lines of docs/postfix.md as they
 * stand, with a user who signs in through Cyrus SASL.
 */
export async function startFrontPostfix(options: FrontPostfixOptions): Promise<FrontPostfix> {
  const { dir, ports, user } = options;
  await folderOf(dir);
  await signIn(dir, user);
  const page = readFileSync(join(import.meta.dirname, "../../docs/postfix.md"), "utf8");
  const recipe = (title: string) => withPorts(blockOf(page, title), ports);
  const instance = await startPostfixInstance({
    dir,
    port: ports.smtp,
    main: [recipe("main.cf"), "smtpd_sasl_auth_enable = yes", options.main, ""].join("\n"),
    master: masterOf(recipe("master.cf"), ports),
  });
  await untilGreeted(ports.smtp, instance.logFile);
  return {
    ...instance,
    sendmail: (mail) => sendmail(instance.configDir, mail),
    log: () => readFile(instance.logFile, "utf8"),
  };
}

/**
 * Its processes that talk to clients start and end by themselves; `master` listens before they do.
 */
async function untilGreeted(port: number, logFile: string): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  socket.setTimeout(60_000, () => socket.destroy());
  const line = await Promise.race([once(socket, "data"), once(socket, "close")]);
  socket.destroy();
  if (String(line).startsWith("220 ")) return;
  const fatal = /fatal: .*/.exec(readFileSync(logFile, "utf8"))?.[0] ?? "its log does not say why";
  throw new Error(`postfix greets nobody: ${fatal}`);
}

function blockOf(page: string, title: string): string {
  const section = page.split(/^## /m).find((part) => part.startsWith(`${title}\n`));
  const block = /^```\n(.*?)^```$/ms.exec(section ?? "")?.[1];
  if (block === undefined) throw new Error(`docs/postfix.md has no block below ${title}`);
  return block;
}

function withPorts(text: string, { incoming, outgoing, back }: FrontPorts): string {
  return text
    .replaceAll("[127.0.0.1]:2525", `[127.0.0.1]:${incoming}`)
    .replaceAll("[127.0.0.1]:2526", `[127.0.0.1]:${outgoing}`)
    .replaceAll("127.0.0.1:10026", `127.0.0.1:${back}`);
}

/**
 * Debian's master.cf with the page's lines in place of its own `pickup`, submission as its comment
 * has it, and no chroot, because only the package's own instance has the files for one.
 */
function masterOf(recipe: string, { smtp, submission }: FrontPorts): string {
  const debian = readFileSync("/usr/share/postfix/master.cf.dist", "utf8");
  const services = debian
    .replace(/^smtp(?= +inet)/m, `127.0.0.1:${smtp}`)
    .replace(/^pickup .*\n/m, "");
  const ofUsers = `127.0.0.1:${submission} inet n - n - - smtpd
    -o syslog_name=postfix/submission
    -o smtpd_sasl_auth_enable=yes
    -o smtpd_relay_restrictions=permit_sasl_authenticated,reject
`;
  return [services, ofUsers, recipe]
    .join("\n")
    .replaceAll(/^(\S+ +(?:inet|unix) +\S+ +\S+ +)y/gm, "$1n");
}

/** Where Debian's Postfix looks for the settings of Cyrus SASL: next to its own. */
async function signIn(dir: string, { name, domain, password }: FrontPostfixOptions["user"]) {
  await folderOf(join(dir, "config"));
  const sasl = await folderOf(join(dir, "config", "sasl"));
  const users = join(sasl, "sasldb2");
  const child = spawn("saslpasswd2", ["-c", "-p", "-f", users, "-u", domain, name], {
    stdio: ["pipe", "inherit", "inherit"],
    env: { ...process.env, PATH: `${process.env["PATH"] ?? ""}:/usr/sbin` },
  });
  child.stdin.end(password);
  const [code] = (await once(child, "exit")) as [number | null];
  if (code !== 0) throw new Error(`saslpasswd2 ended with ${String(code)}`);
  const { uid, gid } = await idsOfUser("postfix");
  chownSync(users, uid, gid);
  const settings = { auxprop_plugin: "sasldb", mech_list: "PLAIN LOGIN", sasldb_path: users };
  const lines = Object.entries({ pwcheck_method: "auxprop", ...settings });
  writeFileSync(
    join(sasl, "smtpd.conf"),
    lines.map(([key, value]) => `${key}: ${value}\n`).join(""),
  );
}

async function sendmail(configDir: string, mail: string): Promise<void> {
  const env = { ...process.env, MAIL_CONFIG: configDir };
  const sending = promisify(execFile)("/usr/sbin/sendmail", ["-t", "-i"], { env });
  sending.child.stdin?.end(mail);
  await sending;
}
