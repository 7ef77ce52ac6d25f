import { open, readdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { messageOf } from "@rs-agent/shared/errors.ts";
import { canonicalize } from "@rs-agent/shared/mail/canonical.ts";
import { wrongOption } from "@rs-agent/kit/options.ts";
import { indexMbox, unquoted, type Slice } from "./mbox.ts";

/** Real mail; only its places are kept in memory. */
export interface Corpus {
  readonly size: number;
  /** Canonical, otherwise as found. */
  read(nth: number): Promise<Buffer>;
}

interface Place {
  file: string;
  /** Absent: the whole file is the mail. */
  slice?: Slice;
}

/**
 * One mail, an mbox, or a folder (or maildir) in which each file is a mail and `*.mbox` are mboxes.
 * @throws TerminalError CFG_INVALID
 */
export async function openCorpus(path: string): Promise<Corpus> {
  const places = await placesIn(path).catch((error: unknown) => {
    throw wrongOption("--corpus", path, messageOf(error));
  });
  if (places.length === 0) throw wrongOption("--corpus", path, "has no mail");
  return {
    size: places.length,
    read: (nth) => readPlace(places[nth % places.length] as Place),
  };
}

async function placesIn(path: string): Promise<Place[]> {
  if (!(await stat(path)).isDirectory()) return placesOfFile(path, await beginsAsMbox(path));
  const entries = await readdir(path, { recursive: true, withFileTypes: true });
  const files = entries
    .filter((entry) => entry.isFile() && !entry.name.startsWith("."))
    .map(({ parentPath, name }) => join(parentPath, name))
    .sort();
  const places: Place[] = [];
  for (const file of files) places.push(...(await placesOfFile(file, file.endsWith(".mbox"))));
  return places;
}

async function placesOfFile(file: string, isMbox: boolean): Promise<Place[]> {
  if (!isMbox) return [{ file }];
  return (await indexMbox(file)).map((slice) => ({ file, slice }));
}

async function beginsAsMbox(file: string): Promise<boolean> {
  return (await readSlice(file, { start: 0, end: 5 })).toString("latin1") === "From ";
}

async function readPlace({ file, slice }: Place): Promise<Buffer> {
  const end = (await stat(file)).size;
  const raw = await readSlice(file, slice ?? { start: 0, end });
  return canonicalize(slice === undefined ? raw : unquoted(raw));
}

async function readSlice(file: string, { start, end }: Slice): Promise<Buffer> {
  await using handle = await open(file);
  const buffer = Buffer.alloc(end - start);
  const { bytesRead } = await handle.read(buffer, 0, buffer.length, start);
  return buffer.subarray(0, bytesRead);
}
