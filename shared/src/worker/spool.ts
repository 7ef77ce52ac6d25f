import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { readFile, stat } from "node:fs/promises";
import { basename, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { TerminalError, messageOf } from "../errors.ts";
import type { TaskHandler, TaskMail } from "./handler.ts";
import type { HeldTask } from "./held-task.ts";

/**
 * Holds the spool's id, one line; the dispatcher that opens the spool makes it. It is the canary too:
 * the file is in no other folder, so an engine that reads it by its path sees the spool.
 */
export const spoolIdFile = ".spool-id";

/** Ids of the spools that this worker may announce: none, unless handler and engine read the id file. */
export async function proveSpools(
  dir: string | undefined,
  handler: TaskHandler,
  signal: AbortSignal,
): Promise<string[]> {
  if (dir === undefined || handler.seesFile === undefined) return [];
  try {
    const path = join(dir, spoolIdFile);
    const id = (await readFile(path, "utf8")).trim();
    if (id === "" || id.length > 64) return [];
    return (await handler.seesFile(path, signal)) ? [id] : [];
  } catch {
    return [];
  }
}

/** `seesFile` of a handler that reads the mail itself, whatever its engine is then given. */
export async function canRead(path: string, signal: AbortSignal): Promise<boolean> {
  try {
    return (await readFile(path, { signal })).length > 0;
  } catch {
    return false;
  }
}

/**
 * The file of a disk-mode task, once its size and SHA-256 are those of the task. A spool is flat, so
 * only the last part of the path counts: the folder may be mounted elsewhere here.
 * @throws TerminalError WORKER_SPOOL
 */
export async function openSpooled(dir: string | undefined, task: HeldTask): Promise<TaskMail> {
  const { spool, size, sha256 } = task.head;
  if (dir === undefined || spool === undefined) {
    throw new TerminalError("WORKER_SPOOL", "the task has neither bytes nor a spool that we see");
  }
  const path = join(dir, basename(spool.path));
  const found = await describe(path);
  if (found.size !== size || found.sha256 !== sha256) {
    throw new TerminalError("WORKER_SPOOL", `${spool.path} holds other bytes than the task says`);
  }
  return { kind: "file", path, size };
}

async function describe(path: string): Promise<{ size: number; sha256: string }> {
  try {
    const { size } = await stat(path);
    const hash = createHash("sha256");
    await pipeline(createReadStream(path), hash);
    return { size, sha256: hash.digest("hex") };
  } catch (error) {
    throw new TerminalError("WORKER_SPOOL", messageOf(error), { cause: error });
  }
}
