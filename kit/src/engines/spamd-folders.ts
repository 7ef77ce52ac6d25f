import { chmod, chown, mkdir, readFile, readdir, writeFile } from "node:fs/promises";
import { userInfo } from "node:os";
import { join } from "node:path";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import { reachableFolder } from "./reachable-folder.ts";
import type { SpamdOptions } from "./spamd.ts";
import { unprivilegedUser, type User } from "../processes/system-user.ts";

/** Where Debian keeps the plugin lists. */
const debianConfigDir = "/etc/spamassassin";
/** The rules as compiled by sa-compile: with them spamd makes about 10 % more checks. */
const compiledRulesDir = "/var/lib/spamassassin/compiled";
/** Debian's spamassassin brings the first of these users; the second exists everywhere. */
const unprivilegedUsers = ["debian-spamd", "nobody"];

/**
 * The user for spamd: somebody else if we are root, otherwise ourselves. spamd refuses to check
 * mail as root, and does not take a user by number.
 * @throws TerminalError SETUP_MISSING
 */
export async function userForSpamd(): Promise<User | undefined> {
  return process.getuid?.() === 0 ? unprivilegedUser("spamd", unprivilegedUsers) : ourselves();
}

/**
 * spamd wants a name for its virtual users; a uid without a name (in a container, say) yields none.
 */
function ourselves(): User | undefined {
  try {
    const { username, uid, gid } = userInfo();
    return { name: username, uid, gid };
  } catch {
    return undefined;
  }
}

export interface Folders {
  /** Owned by root, and readable for spamd's user. */
  config: string;
  /** Owned by spamd's user: Bayes tokens, users' preferences, HOME. */
  state: string;
  users: string;
  log: string;
  removeOurs(): Promise<void>;
}

export async function prepareFolders(
  options: SpamdOptions,
  user: User | undefined,
): Promise<Folders> {
  const { dir, remove } = await reachableFolder(options.dir, user, "spamd");
  const config = join(dir, "config");
  const state = join(dir, "state");
  const users = join(state, "users");
  const owned = [state, users, join(state, "home"), join(state, "bayes")];
  for (const folder of [dir, config, ...owned]) {
    await mkdir(folder, { recursive: true });
    await chmod(folder, 0o755);
  }
  if (user !== undefined) await Promise.all(owned.map((path) => chown(path, user.uid, user.gid)));
  await copyPluginLists(config);
  await writeReadable(join(config, "local.cf"), localConfig(state, options.config ?? []));
  return {
    config,
    state,
    users,
    log: join(options.dir, "spamd.log"),
    removeOurs: remove,
  };
}

/** Without the distribution's `loadplugin` lines SpamAssassin has no checks at all. */
async function copyPluginLists(config: string): Promise<void> {
  const names = await readdir(debianConfigDir).catch(() => [] as string[]);
  const lists = names.filter((name) => name.endsWith(".pre"));
  if (lists.length === 0) {
    throw new TerminalError(
      "SETUP_MISSING",
      `no plugin lists in ${debianConfigDir}: apt-get install --no-install-recommends spamassassin`,
    );
  }
  const isCompiled = (await readdir(compiledRulesDir).catch(() => [])).length > 0;
  for (const name of lists) {
    const list = await readFile(join(debianConfigDir, name), "utf8");
    await writeReadable(join(config, name), isCompiled ? withCompiledRules(list) : list);
  }
}

/**
 * A plugin list with the plugin that reads compiled rules turned on; Debian's has it commented out.
 */
export function withCompiledRules(list: string): string {
  return list.replace(/^#\s*(loadplugin\s+Mail::SpamAssassin::Plugin::Rule2XSBody)\b/m, "$1");
}

/** Readable for spamd's user, whatever our umask. */
async function writeReadable(path: string, content: string | Buffer): Promise<void> {
  await writeFile(path, content);
  await chmod(path, 0o644);
}

/** Mail::SpamAssassin::Conf(3). */
function localConfig(state: string, more: readonly string[]): string {
  return [
    "# written at each start",
    "required_score 5.0",
    "dns_available no",
    "use_bayes 1",
    "bayes_auto_learn 0",
    `bayes_path ${join(state, "bayes", "bayes")}`,
    "# ours comes first; a Return-Path further down was written by a stranger",
    "envelope_sender_header Return-Path",
    "# less than any client's deadline: then TIME_LIMIT_EXCEEDED is said, not guessed",
    "time_limit 45",
    ...more,
    "",
  ].join("\n");
}
