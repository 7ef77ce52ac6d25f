/** What clamd is asked to scan: bytes that we stream, or a path that it opens itself. */
export type ScanInput = { kind: "bytes"; bytes: Buffer } | { kind: "path"; path: string };

/** Bytes per chunk of a stream; clamd takes up to its StreamMaxLength. */
const chunkBytes = 256 * 1024;
/** Up to this size, one copy into one buffer is cheaper than a gathered write. */
const copyBytes = 16 * 1024;

const instream = Buffer.from("zINSTREAM\0", "latin1");
const endOfStream = Buffer.alloc(4);

/**
 * The command for a scan, as groups of buffers to be written together; between groups the writer
 * waits until the socket has room. INSTREAM (clamd(8)): each chunk follows its 32-bit length, and
 * an empty chunk ends the stream. `z`: commands and replies end in NUL.
 */
export function* framesOf(input: ScanInput): Generator<readonly Buffer[]> {
  if (input.kind === "path") {
    yield [Buffer.from(`zSCAN ${input.path}\0`, "utf8")];
    return;
  }
  const { bytes } = input;
  if (bytes.length === 0) {
    yield [Buffer.concat([instream, endOfStream])];
    return;
  }
  if (bytes.length <= copyBytes) {
    yield [Buffer.concat([instream, lengthOf(bytes), bytes, endOfStream])];
    return;
  }
  yield [instream];
  for (let offset = 0; offset < bytes.length; offset += chunkBytes) {
    const chunk = bytes.subarray(offset, offset + chunkBytes);
    yield [lengthOf(chunk), chunk];
  }
  yield [endOfStream];
}

function lengthOf(chunk: Buffer): Buffer {
  const length = Buffer.allocUnsafe(4);
  length.writeUInt32BE(chunk.length);
  return length;
}

/** True if clamd's command line can carry this path: absolute, and no NUL in it. */
export function isPathForClamd(path: string): boolean {
  return path.startsWith("/") && !path.includes("\0");
}
