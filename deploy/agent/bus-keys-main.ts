import { spawnSync } from "node:child_process";
import { chownSync, lstatSync, readdirSync } from "node:fs";
import { dirname, join } from "node:path";
import { z } from "zod";
import { integer, loadConfig } from "@rs-agent/shared/config.ts";
import { exit, exitWithError } from "@rs-agent/shared/lifecycle.ts";
import { handOutKeys, keyFolderOf, makeKeys } from "./bus-keys.ts";

/**
 * `bus-keys`: makes the keys of docker-compose.yml's bus if there are none, and gives each kind of
 * service its own; again is harmless. `bus-keys add|revoke|ls …` is `rs-agent keys`, handed out.
 */
const schema = z.object({
  BUS_KEYS_DIR: z.string().default("/run/secrets/bus"),
  /** For a start as root: a folder that the engine made is root's, and so becomes the services'. */
  BUS_KEYS_OWNER: integer(1, 2 ** 31 - 1).optional(),
});
const root = dirname(dirname(import.meta.dirname));

await Promise.resolve().then(main).catch(exitWithError);

function main(): void {
  const { BUS_KEYS_DIR: bus, BUS_KEYS_OWNER: owner } = loadConfig(schema, process.env);
  if (owner !== undefined) become(owner, bus);
  const [command, ...args] = process.argv.slice(2);
  const made = makeKeys(bus, new Date());
  if (made === "brought") {
    process.stderr.write(`${bus}: keys were brought here and stay as they are\n`);
    return exit(command === undefined ? 0 : 1);
  }
  if (command !== undefined) change(keyFolderOf(bus), command, args);
  const given = Object.entries(handOutKeys(bus)).map(([kind, name]) =>
    kind === name ? kind : `${kind} (${name})`,
  );
  process.stderr.write(`keys of the bus: ${made}; ${given.join(", ")}\n`);
}

function change(keys: string, command: string, args: readonly string[]): void {
  const script = join(root, "cli", "src", "rs-agent.ts");
  const { status } = spawnSync(process.execPath, [script, "keys", command, keys, ...args], {
    stdio: "inherit",
  });
  if (status !== 0) exit(status ?? 1);
}

/** Gives the folder to that user, whom this process then is. */
function become(user: number, bus: string): void {
  const folders = readdirSync(bus).map((name) => join(bus, name));
  for (const path of [...folders, bus]) {
    // No link: it could lead anywhere.
    if (lstatSync(path).isDirectory()) chownSync(path, user, user);
  }
  process.setgroups?.([]);
  process.setgid?.(user);
  process.setuid?.(user);
}
