import { setImmediate } from "node:timers/promises";

const chunkBytes = 64 * 1024;
const lf = 0x0a;

/**
 * The parts in pieces of about 64 KB with a turn of the event loop between them, so that a large
 * mail stalls nothing. Pieces end at line ends: mailauth keeps an unfinished line and scans it
 * again with each piece, which takes quadratic time over a line of 50 MB.
 * @throws the signal's reason once it aborts
 */
export async function* inChunks(
  parts: readonly Buffer[],
  signal: AbortSignal,
): AsyncGenerator<Buffer, void, undefined> {
  for (const part of parts) {
    let start = 0;
    while (start < part.length) {
      signal.throwIfAborted();
      const end = pieceEnd(part, start);
      yield part.subarray(start, end);
      start = end;
      await setImmediate();
    }
  }
}

function pieceEnd(part: Buffer, start: number): number {
  const limit = start + chunkBytes;
  if (limit >= part.length) return part.length;
  const within = part.subarray(start, limit).lastIndexOf(lf);
  if (within >= 0) return start + within + 1;
  const beyond = part.indexOf(lf, limit);
  return beyond < 0 ? part.length : beyond + 1;
}
