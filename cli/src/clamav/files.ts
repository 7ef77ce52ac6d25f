import { lstat, readdir, realpath } from "node:fs/promises";
import { join, resolve } from "node:path";
import { messageOf } from "@rs-agent/shared/errors.ts";
import type { FileOutcome } from "./outcome.ts";

/** Something that was named or found: to be scanned, or already decided. */
export type Entry =
  | { kind: "file"; path: string; size: number }
  | { kind: "stdin" }
  /** Not on this machine; clamd may have it (disk mode). */
  | { kind: "unknown"; path: string }
  | { kind: "decided"; path: string; outcome: FileOutcome };

/**
 * All that the given paths lead to, folders with their whole content. Symbolic links are followed
 * if they are given, and passed over inside folders: clamd would answer `OK` to those unseen.
 */
export async function findEntries(paths: readonly string[]): Promise<Entry[]> {
  const found: Entry[] = [];
  for (const path of paths) {
    if (path === "-") found.push({ kind: "stdin" });
    else found.push(...(await fromArgument(resolve(path))));
  }
  return found;
}

async function fromArgument(path: string): Promise<Entry[]> {
  let target: string;
  try {
    target = await realpath(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return [{ kind: "unknown", path }];
    return [decided(path, { result: "error", detail: messageOf(error) })];
  }
  return collect(target);
}

async function collect(path: string): Promise<Entry[]> {
  try {
    const stats = await lstat(path);
    if (stats.isSymbolicLink()) return [decided(path, skipped("Symbolic link"))];
    if (stats.isFile()) {
      if (stats.size === 0) return [decided(path, skipped("Empty file"))];
      return [{ kind: "file", path, size: stats.size }];
    }
    if (!stats.isDirectory()) return [decided(path, skipped("Not supported file type"))];
    const names = (await readdir(path)).sort();
    const entries: Entry[] = [];
    for (const name of names) entries.push(...(await collect(join(path, name))));
    return entries;
  } catch (error) {
    return [decided(path, { result: "error", detail: messageOf(error) })];
  }
}

function decided(path: string, outcome: FileOutcome): Entry {
  return { kind: "decided", path, outcome };
}

function skipped(detail: string): FileOutcome {
  return { result: "skipped", detail };
}
