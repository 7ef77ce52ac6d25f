import { randomUUID } from "node:crypto";
import { mkdir, open, readFile, readdir, rename, unlink, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { HeldMail } from "./held-mail.ts";

/** The file that names a spool; a worker that reads the same id sees the same spool. */
const idFile = ".spool-id";
/** `<mail id>.<lease token>.eml`, with `.tmp` while it is written. */
const mailFile = /^([0-9a-z-]+)\.([0-9a-f]{32})\.eml(?:\.tmp)?$/;

/** A folder shared with workers of this host: raw mail on its way, one file per mail and lease. */
export interface Spool {
  readonly id: string;
  /** Writes the raw mail once: temporary name, size checked, fsynced, renamed. */
  put(held: HeldMail, raw: Buffer): Promise<string>;
  /** Removes a mail's file. Only the dispatcher that wrote it calls this. */
  remove(path: string): Promise<void>;
  /** Removes the files whose lease is over, left by a dispatcher that died; how many. */
  sweep(isLive: (mailId: string, token: string) => Promise<boolean>): Promise<number>;
}

export async function openSpool(dir: string): Promise<Spool> {
  await mkdir(dir, { recursive: true, mode: 0o755 });
  const id = await spoolId(dir);
  return {
    id,
    async put(held, raw) {
      const path = join(dir, `${held.mail._id}.${held.holding.token}.eml`);
      const temporary = `${path}.tmp`;
      await writeWhole(temporary, raw);
      await rename(temporary, path);
      return path;
    },
    remove: removeIfThere,
    async sweep(isLive) {
      const names = await readdir(dir);
      const removed = await Promise.all(
        names.map(async (name) => {
          const match = mailFile.exec(name);
          const [, mailId, token] = match ?? [];
          if (mailId === undefined || token === undefined) return false;
          if (await isLive(mailId, token)) return false;
          await removeIfThere(join(dir, name));
          return true;
        }),
      );
      return removed.filter(Boolean).length;
    },
  };
}

/** Made by the first that opens the spool; `wx` lets only one win. */
async function spoolId(dir: string): Promise<string> {
  const path = join(dir, idFile);
  try {
    await writeFile(path, randomUUID(), { flag: "wx", mode: 0o644 });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EEXIST") throw error;
  }
  return (await readFile(path, "utf8")).trim();
}

async function removeIfThere(path: string): Promise<void> {
  try {
    await unlink(path);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
  }
}

async function writeWhole(path: string, raw: Buffer): Promise<void> {
  await using file = await open(path, "w", 0o644);
  await file.writeFile(raw);
  await file.sync();
  const { size } = await file.stat();
  if (size === raw.length) return;
  throw new Error(`spool file has ${String(size)} of ${String(raw.length)} bytes`);
}
