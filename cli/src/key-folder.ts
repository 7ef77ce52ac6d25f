import { chmodSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { isSeq, parseDocument } from "yaml";
import {
  busKinds,
  parseAllowList,
  type AllowList,
  type BusKind,
  type ListedKey,
} from "@rs-agent/shared/bus/allow-list.ts";
import { createCurveKey, formatSecretFile, keyError } from "@rs-agent/shared/bus/curve-key.ts";
import { TerminalError, messageOf } from "@rs-agent/shared/errors.ts";

/** A folder with the allow list of the bus and the secret keys that were made here. */

const heading = ` Keys of the rs-agent bus, and what each may act as: ${busKinds.join(", ")}.
 No secret: every service gets this list (BUS_ALLOW_FILE), and reads it again within a second of its
 change. Replace it whole. Kept by: rs-agent keys add, revoke, ls.`;

/** The key that is wanted. */
export interface WantedKey {
  name: string;
  kinds: readonly BusKind[];
  comment?: string | undefined;
  /** For a key that was made elsewhere: its public half, the only one known here. */
  publicKey?: string | undefined;
}

export function allowFileOf(folder: string): string {
  return join(folder, "allow.yaml");
}

/** The file of a secret key, whether it exists or not. */
export function secretFileOf(folder: string, name: string): string {
  return join(folder, `${name}.key`);
}

/**
 * Makes the list and one key for each kind of service. `mode` is that of the secret files.
 * @throws TerminalError CLI_REFUSED if there is a list already
 */
export function initKeyFolder(folder: string, mode: number, now: Date): void {
  if (existsSync(allowFileOf(folder))) {
    throw new TerminalError("CLI_REFUSED", `${allowFileOf(folder)} already exists`);
  }
  attempt(folder, () => mkdirSync(folder, { recursive: true }));
  const text = busKinds.reduce(
    (list, kind) => withKey(folder, list, { name: kind, kinds: [kind] }, mode, now),
    "keys: []\n",
  );
  const list = parseDocument(text);
  list.commentBefore = heading;
  writeList(folder, list.toString());
}

/**
 * Lists one more key, which is made here unless its public half is given.
 * @throws TerminalError CFG_BUS_KEYS, CLI_REFUSED
 */
export function addKey(folder: string, wanted: WantedKey, mode: number, now: Date): void {
  const text = readListText(folder);
  writeList(folder, withKey(folder, text, wanted, mode, now));
}

/**
 * Marks a key as revoked: it stays in the list, so that services can say what became of it.
 * @returns the key
 * @throws TerminalError CFG_BUS_KEYS, CLI_REFUSED
 */
export function revokeKey(folder: string, nameOrKey: string, now: Date): ListedKey {
  const text = readListText(folder);
  const { keys } = parseAllowList(text, allowFileOf(folder));
  const at = keys.findIndex((key) => key.name === nameOrKey || key.publicKey === nameOrKey);
  const key = keys[at];
  if (key === undefined) {
    const names = keys.map(({ name }) => name).join(", ");
    throw new TerminalError("CLI_REFUSED", `no key is called ${nameOrKey}; the keys are: ${names}`);
  }
  if (key.revoked !== undefined) {
    throw new TerminalError("CLI_REFUSED", `${key.name} was already revoked at ${key.revoked}`);
  }
  const tree = parseDocument(text);
  tree.setIn(["keys", at, "revoked"], now.toISOString());
  writeList(folder, tree.toString({ lineWidth: 0 }));
  return key;
}

/** @throws TerminalError CFG_BUS_KEYS */
export function readKeyFolder(folder: string): AllowList {
  return parseAllowList(readListText(folder), allowFileOf(folder));
}

/** The list's text with the key added; its secret half is written to its file. */
function withKey(
  folder: string,
  text: string,
  { name, kinds, comment, publicKey }: WantedKey,
  mode: number,
  now: Date,
): string {
  const path = allowFileOf(folder);
  parseAllowList(text, path);
  const made = publicKey === undefined ? createCurveKey() : undefined;
  const entry = {
    name,
    publicKey: publicKey ?? made?.publicKey,
    kinds: [...kinds],
    added: now.toISOString(),
    ...(comment === undefined ? {} : { comment }),
  };
  const tree = parseDocument(text);
  const { contents } = tree;
  const listed = tree.get("keys");
  // `keys: []` stands on one line; one entry per paragraph reads better.
  if (isSeq(listed)) listed.flow = false;
  if (contents === null) throw keyError(path, "is empty");
  tree.addIn(["keys"], tree.createNode(entry));
  const changed = tree.toString({ lineWidth: 0 });
  parseAllowList(changed, path);
  if (made !== undefined) {
    const file = secretFileOf(folder, name);
    // Never overwrites a key: its holder could no longer come in.
    attempt(file, () => {
      writeFileSync(file, formatSecretFile(made, name, now), { mode: 0o600, flag: "wx" });
      chmodSync(file, mode);
    });
  }
  return changed;
}

function readListText(folder: string): string {
  const path = allowFileOf(folder);
  return attempt(path, () => readFileSync(path, "utf8"));
}

function writeList(folder: string, text: string): void {
  const path = allowFileOf(folder);
  attempt(path, () => replaceFile(path, text, 0o644));
}

/** Replaces the file in one step, so that no reader sees half of it. */
export function replaceFile(path: string, content: string | Uint8Array, mode: number): void {
  writeFileSync(`${path}.new`, content, { mode });
  chmodSync(`${path}.new`, mode);
  renameSync(`${path}.new`, path);
}

function attempt<T>(path: string, run: () => T): T {
  try {
    return run();
  } catch (error) {
    throw keyError(path, messageOf(error), error);
  }
}
