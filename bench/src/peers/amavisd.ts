import { randomBytes } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import type { RunningClamd } from "@rs-agent/kit/engines/clamd.ts";
import { freePort } from "@rs-agent/kit/free-port.ts";
import type { RunningSpamd } from "@rs-agent/kit/engines/spamd.ts";
import type { MailServer } from "../mail-server.ts";
import { recipientDomain } from "../sample-mails.ts";
import { programOf, versionOf } from "./needs.ts";
import { folderOf, startServer } from "./server-process.ts";

export interface AmavisdOptions {
  /** Holds its configuration and log. */
  dir: string;
  /** Where it delivers what passes. */
  sinkPort: number;
  children: number;
  /** The clamd that it asks; absent: no virus check. */
  clamd?: RunningClamd;
  /** The spamd whose rules and settings its SpamAssassin uses; absent: no spam check. */
  likeSpamd?: RunningSpamd;
}

const user = "amavis";
const isRoot = process.getuid?.() === 0;
/** Its own default is 20; it is faster if children are forked less often. */
const requestsPerChild = 1_000;

/**
 * A private amavisd-new that takes mail by SMTP and passes it on, set up as its makers recommend
 * for clamd: clamd reads the mail by its path, so that amavisd need not decode it, and its files
 * are in memory. No quarantine, no notices, no DNS, no DKIM, no banned names, no header checks.
 */
export async function startAmavisd(options: AmavisdOptions): Promise<MailServer> {
  const { dir, children, clamd, likeSpamd } = options;
  const port = await freePort();
  const memory = existsSync("/dev/shm") ? "/dev/shm" : tmpdir();
  const temp = join(memory, `rs-agent-bench-${randomBytes(4).toString("hex")}`);
  await folderOf(dir);
  await folderOf(temp, user);
  const home = await folderOf(join(dir, "home"), user);
  const rules =
    likeSpamd === undefined ? undefined : await copyRules(likeSpamd, join(dir, "rules"));
  const file = join(dir, "amavisd.conf");
  writeFileSync(file, configuration(options, { port, temp, home, rules }));
  const remove = () => rmSync(temp, { recursive: true, force: true });
  // Also if Ctrl-C comes while it starts.
  process.once("exit", remove);
  try {
    const { pid, stop } = await startServer({
      program: await programOf("amavisd"),
      args: ["-c", file, "foreground"],
      logFile: join(dir, "amavisd.log"),
      port,
      env: { HOME: home },
    });
    const engines = clamd === undefined ? {} : { clamd: [clamd.pid] };
    return {
      name: "amavisd",
      address: `127.0.0.1:${port}`,
      about: `${await versionOf("amavisd-new")}, ${children} children, files on ${memory}`,
      processes: () => ({ amavisd: [pid], ...engines }),
      stop: async () => {
        await stop();
        remove();
        process.off("exit", remove);
      },
    };
  } catch (error) {
    remove();
    throw error;
  }
}

interface Places {
  port: number;
  temp: string;
  home: string;
  rules: string | undefined;
}

/** amavisd.conf is Perl; https://www.ijs.si/software/amavisd/amavisd-new-docs.html */
function configuration(options: AmavisdOptions, { port, temp, home, rules }: Places): string {
  const { children, sinkPort, clamd, dir } = options;
  const off = (what: string, isOff: boolean) => `@bypass_${what}_checks_maps = (${isOff ? 1 : 0});`;
  return [
    "use strict;",
    ...(isRoot ? [`$daemon_user = '${user}';`, `$daemon_group = '${user}';`] : []),
    `$MYHOME = '${home}';`,
    `$TEMPBASE = '${temp}';`,
    `$ENV{TMPDIR} = $TEMPBASE;`,
    "$QUARANTINEDIR = undef;",
    `$helpers_home = $MYHOME;`,
    `$pid_file = "$MYHOME/amavisd.pid";`,
    `$lock_file = "$MYHOME/amavisd.lock";`,
    "$enable_db = 0;",
    "$enable_zmq = 0;",
    `$max_servers = ${children};`,
    `$max_requests = ${requestsPerChild};`,
    "$child_timeout = 300;",
    "$log_level = 0;",
    "$do_syslog = 0;",
    `$LOGFILE = '${join(home, "amavisd.log")}';`,
    `$mydomain = '${recipientDomain}';`,
    `$myhostname = 'amavisd.${recipientDomain}';`,
    `@local_domains_maps = (['.${recipientDomain}']);`,
    "@mynetworks = qw(127.0.0.0/8);",
    "$inet_socket_bind = '127.0.0.1';",
    `$inet_socket_port = ${port};`,
    "@inet_acl = qw(127.0.0.1);",
    `$forward_method = 'smtp:[127.0.0.1]:${sinkPort}';`,
    "$notify_method = $forward_method;",
    "$enable_dkim_verification = 0;",
    "$enable_dkim_signing = 0;",
    off("virus", clamd === undefined),
    off("spam", rules === undefined),
    off("banned", true),
    off("header", true),
    "$bypass_decode_parts = 1;",
    "$final_virus_destiny = D_REJECT;",
    "$final_spam_destiny = D_REJECT;",
    "$final_banned_destiny = D_PASS;",
    "$final_bad_header_destiny = D_PASS;",
    ...["virus", "spam", "banned_files", "bad_header", "clean"].map(
      (kind) => `$${kind}_quarantine_method = undef;`,
    ),
    "$virus_admin = undef;",
    "$spam_admin = undef;",
    "$warnvirusrecip = 0;",
    ...(clamd === undefined
      ? ["@av_scanners = ();"]
      : [
          "@av_scanners = (['ClamAV-clamd',",
          `  \\&ask_daemon, ["CONTSCAN {}\\n", '${clamd.socketPath}'],`,
          "  qr/\\bOK$/m, qr/\\bFOUND$/m, qr/^.*?: (?!Infected Archive)(.*) FOUND$/m]);",
        ]),
    "@av_scanners_backup = ();",
    "$sa_local_tests_only = 1;",
    "$sa_mail_body_size_limit = 512*1024;",
    "$sa_tag_level_deflt = undef;",
    "$sa_tag2_level_deflt = 5;",
    "$sa_kill_level_deflt = 100;",
    "$sa_dsn_cutoff_level = 0;",
    ...(rules === undefined ? [] : [`$sa_siteconfigpath = '${rules}';`]),
    ...(rules === undefined ? [] : [`$sa_userprefs_file = '${join(dir, "no-such-prefs")}';`]),
    "1;",
    "",
  ].join("\n");
}

/** Copies spamd's SpamAssassin: its plugin lists and its local.cf, with Bayes tokens of its own. */
async function copyRules({ configDir }: RunningSpamd, to: string): Promise<string> {
  await folderOf(to);
  const bayes = await folderOf(join(dirname(to), "bayes"), user);
  for (const name of readdirSync(configDir)) copyFileSync(join(configDir, name), join(to, name));
  const local = readFileSync(join(configDir, "local.cf"), "utf8");
  const own = local.replace(/^bayes_path .*$/m, `bayes_path ${join(bayes, "bayes")}`);
  writeFileSync(join(to, "local.cf"), own);
  return to;
}
