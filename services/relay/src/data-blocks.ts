/** A part of what DATA sends; the last one ends with the line that is a dot alone. */
export interface DataBlock {
  bytes: Buffer;
  isLast: boolean;
}

const lf = 0x0a;
const dot = 0x2e;
const lineBeginsWithDot = "\n.";
const oneDot = Buffer.from(".");
const end = Buffer.from(".\r\n");
const endOfLineToo = Buffer.from("\r\n.\r\n");

/**
 * The mail as DATA sends it (RFC 5321 §4.5.2): a dot more before each line that begins with one, and the end.
 * `chunks` have no other line ends than CRLF. A mail of one block is one; what needs no dot is not
 * copied except to make up a block.
 */
export function* dataBlocks(chunks: Iterable<Buffer>, blockBytes: number): Generator<DataBlock> {
  let held: Buffer[] = [];
  let heldBytes = 0;
  let before = lf;
  for (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += blockBytes) {
      const piece = chunk.subarray(at, at + blockBytes);
      if (heldBytes > 0 && heldBytes + piece.length > blockBytes) {
        yield { bytes: joined(held), isLast: false };
        held = [];
        heldBytes = 0;
      }
      held.push(...stuffed(piece, before));
      heldBytes += piece.length;
      before = piece.at(-1) as number;
    }
  }
  const isEmpty = heldBytes === 0;
  yield { bytes: joined([...held, before === lf && !isEmpty ? end : endOfLineToo]), isLast: true };
}

/** @param before the byte before the piece; the mail begins as a line does */
function stuffed(piece: Buffer, before: number): Buffer[] {
  const parts: Buffer[] = [];
  let from = 0;
  if (before === lf && piece[0] === dot) parts.push(oneDot);
  for (;;) {
    const found = piece.indexOf(lineBeginsWithDot, from, "latin1");
    if (found < 0) break;
    parts.push(piece.subarray(from, found + 1), oneDot);
    from = found + 1;
  }
  parts.push(piece.subarray(from));
  return parts;
}

function joined(parts: readonly Buffer[]): Buffer {
  const [first] = parts;
  return parts.length === 1 && first !== undefined ? first : Buffer.concat(parts);
}
