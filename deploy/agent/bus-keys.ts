import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { busKinds, type AllowList, type BusKind } from "@rs-agent/shared/bus/allow-list.ts";
import { keyError } from "@rs-agent/shared/bus/curve-key.ts";
import {
  addKey,
  allowFileOf,
  initKeyFolder,
  readKeyFolder,
  replaceFile,
  secretFileOf,
} from "../../cli/src/key-folder.ts";

/*
 * The keys of the bus, as containers see them. Of the folder `bus` each kind of service gets one
 * subfolder, mounted read-only: `service.key`, its secret, and `allow.yaml`. A folder and not the two
 * files: a mounted file stays what it was when another is put in its place.
 *
 * 1. All secrets together lie in `keys`, which no service gets.
 * 2. Keys that were brought from elsewhere, without `keys`, are left as they are.
 */

export function keyFolderOf(bus: string): string {
  return join(bus, "keys");
}

/** Makes one key for each kind, unless there are keys; then for each kind that an older release did not have. */
export function makeKeys(bus: string, now: Date): "made" | "were there" | "brought" {
  const keys = keyFolderOf(bus);
  if (existsSync(allowFileOf(keys))) {
    const { keys: listed } = readKeyFolder(keys);
    const added = busKinds.filter((kind) => !listed.some(({ kinds }) => kinds.includes(kind)));
    for (const kind of added) addKey(keys, { name: kind, kinds: [kind] }, 0o600, now);
    return "were there";
  }
  if (busKinds.some((kind) => existsSync(join(bus, kind, "service.key")))) return "brought";
  // All of them or none, should this process be killed.
  const making = `${keys}.new`;
  rmSync(making, { recursive: true, force: true });
  initKeyFolder(making, 0o600, now);
  chmodSync(making, 0o700);
  renameSync(making, keys);
  return "made";
}

/**
 * Gives each kind's folder the list, and the newest key that may act as this kind.
 * @returns the name of each kind's key
 * @throws TerminalError CFG_BUS_KEYS if a kind has none; the list is with all by then
 */
export function handOutKeys(bus: string): Record<BusKind, string> {
  const keys = keyFolderOf(bus);
  const list = readKeyFolder(keys);
  const text = readFileSync(allowFileOf(keys));
  for (const kind of busKinds) {
    mkdirSync(join(bus, kind), { recursive: true, mode: 0o700 });
    replaceFile(join(bus, kind, "allow.yaml"), text, 0o644);
  }
  const given = busKinds.map((kind) => {
    const name = newestKeyOf(keys, list, kind);
    if (name === undefined) throw keyError(keys, `there is no key for ${kind}: add one`);
    replaceFile(join(bus, kind, "service.key"), readFileSync(secretFileOf(keys, name)), 0o600);
    return [kind, name] as const;
  });
  return Object.fromEntries(given);
}

function newestKeyOf(folder: string, list: AllowList, kind: BusKind): string | undefined {
  const names = list.keysOf(kind).flatMap((publicKey) => list.nameOf(publicKey) ?? []);
  return names.findLast((name) => existsSync(secretFileOf(folder, name)));
}
