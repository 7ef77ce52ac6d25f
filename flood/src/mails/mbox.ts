import { createReadStream } from "node:fs";

/** Where a mail is in its file: from `start` up to `end`, without its From_ line. */
export interface Slice {
  start: number;
  end: number;
}

const lineFeed = 0x0a;
/** Enough bytes of a line to tell a From_ line or an empty one. */
const headBytes = 5;

/**
 * The mails of an mbox (RFC 4155): each begins after a line `From …` that is the first or follows
 * an empty line, and the empty line before the next one is not part of it. The file is read once
 * and not kept.
 */
export async function indexMbox(file: string): Promise<Slice[]> {
  const slices: Slice[] = [];
  /**
   * `emptyAt`: where the last line began, if it was empty; the beginning of the file counts as an
   * empty line.
   */
  const seen = { start: undefined, lineStart: 0, emptyAt: 0 } as {
    start: number | undefined;
    lineStart: number;
    emptyAt: number | undefined;
  };
  const endMail = (end: number) => {
    const { start } = seen;
    if (start !== undefined && end > start) slices.push({ start, end });
  };
  const onLine = (head: string, lineEnd: number) => {
    if (seen.emptyAt !== undefined && head === "From ") {
      endMail(seen.emptyAt);
      seen.start = lineEnd;
    }
    seen.emptyAt = head === "\n" || head === "\r\n" ? seen.lineStart : undefined;
    seen.lineStart = lineEnd;
  };
  let chunkStart = 0;
  let head = "";
  for await (const chunk of createReadStream(file) as AsyncIterable<Buffer>) {
    for (let at = 0; at < chunk.length;) {
      const found = chunk.indexOf(lineFeed, at);
      const next = found < 0 ? chunk.length : found + 1;
      head += chunk.toString("latin1", at, Math.min(next, at + headBytes - head.length));
      at = next;
      if (found < 0) break;
      onLine(head, chunkStart + next);
      head = "";
    }
    chunkStart += chunk.length;
  }
  endMail(seen.lineStart === chunkStart ? (seen.emptyAt ?? chunkStart) : chunkStart);
  return slices;
}

/** Removes one `>` from lines `>From …`, `>>From …`, as the mboxrd form writes them. */
export function unquoted(raw: Buffer): Buffer {
  if (!raw.includes(">From ")) return raw;
  return Buffer.from(raw.toString("latin1").replace(/^>(>*From )/gm, "$1"), "latin1");
}
