import { chmod, chown, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { reachableFolder } from "./reachable-folder.ts";
import type { User } from "../processes/system-user.ts";
import type { RspamdOptions } from "./rspamd.ts";

/** Modules that ask the network or a Redis, or put mail off. */
const withoutNetwork = [
  "arc",
  "asn",
  "bimi",
  "dkim_signing",
  "dmarc",
  "fuzzy_check",
  "greylist",
  "hfilter",
  "history_redis",
  "metric_exporter",
  "mx_check",
  "neural",
  "once_received",
  "phishing",
  "ratelimit",
  "rbl",
  "replies",
  "reputation",
  "spf",
  "surbl",
  "url_redirector",
  "whitelist",
];

/** Reading all 9,600 takes 14 s of one core; these are enough to see that it works. */
const fewTopLevelDomains = ["com", "net", "org", "example", "test", "invalid"];

export interface RspamdFolders {
  configFile: string;
  /** rspamd's own variables (rspamd(8), `--var`); the host's local settings are not read. */
  variables: Readonly<Record<string, string>>;
  log: string;
  removeOurs(): Promise<void>;
}

export async function prepareRspamdFolders(
  options: RspamdOptions,
  port: number,
  user: User | undefined,
): Promise<RspamdFolders> {
  const { dir, remove } = await reachableFolder(options.dir, user, "rspamd");
  const state = join(dir, "state");
  const config = join(dir, "config");
  await rm(config, { recursive: true, force: true });
  for (const folder of [dir, state, config, join(config, "local.d"), join(config, "override.d")]) {
    await mkdir(folder, { recursive: true });
    await chmod(folder, 0o755);
  }
  if (user !== undefined) await chown(state, user.uid, user.gid);
  const files: [string, string][] = [
    ["rspamd.conf", mainConfig(options, port)],
    ["tlds.dat", fewTopLevelDomains.map((name) => `${name}\n`).join("")],
    ["override.inc", optionLines(options, config, state)],
    ...withoutNetwork.map((name): [string, string] => [
      `override.d/${name}.conf`,
      "enabled = false;\n",
    ]),
    ...Object.entries(options.local ?? {}).map(([name, text]): [string, string] => [
      `local.d/${name}`,
      text,
    ]),
  ];
  for (const [name, text] of files) await writeReadable(join(config, name), text);
  return {
    configFile: join(config, "rspamd.conf"),
    variables: { DBDIR: state, RUNDIR: state, LOGDIR: state, LOCAL_CONFDIR: config },
    log: join(options.dir, "rspamd.log"),
    removeOurs: remove,
  };
}

/**
 * The distribution's rules and scores. One kind of process, and no statistics, which need a Redis.
 */
function mainConfig({ processes }: RspamdOptions, port: number): string {
  return [
    'lua = "$RULESDIR/rspamd.lua";',
    ...["metrics", "actions", "groups", "composites", "modules"].map(
      (name) => `.include "$CONFDIR/${name}.conf"`,
    ),
    'modules { path = "${PLUGINSDIR}"; fallback_path = "${SHAREDIR}/lua"; }',
    "options {",
    '  pidfile = "$RUNDIR/rspamd.pid";',
    '  .include "$CONFDIR/options.inc"',
    '  .include(priority=10) "$LOCAL_CONFDIR/override.inc"',
    "}",
    'logging { type = "console"; level = "warning"; }',
    `worker "normal" { bind_socket = "127.0.0.1:${port}"; count = ${processes}; mime = true; }`,
    "",
  ].join("\n");
}

/** There is no resolver: a rule that asks the DNS anyway gets no answer, and soon gives up. */
function optionLines({ isFull }: RspamdOptions, config: string, state: string): string {
  return [
    'filters = "chartable,regexp";',
    "disable_monitoring = true;",
    "soft_reject_on_timeout = true;",
    `control_socket = "${state}/control.sock mode=0600";`,
    `tempdir = "${state}";`,
    'dns { nameserver = ["127.0.0.1:9"]; timeout = 0.1s; retransmits = 1; }',
    ...(isFull === true
      ? []
      : ["disable_hyperscan = true;", `url_tld = "${join(config, "tlds.dat")}";`]),
    "",
  ].join("\n");
}

/** Readable for rspamd's user, whatever our umask. */
async function writeReadable(path: string, content: string): Promise<void> {
  await writeFile(path, content);
  await chmod(path, 0o644);
}

/** group(5) */
export async function groupName(gid: number): Promise<string | undefined> {
  const lines = (await readFile("/etc/group", "utf8")).split("\n").map((line) => line.split(":"));
  return lines.find(([, , id]) => id === String(gid))?.[0];
}
