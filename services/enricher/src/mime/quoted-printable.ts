const cr = 0x0d;
const lf = 0x0a;
const equals = 0x3d;
const space = 0x20;
const tab = 0x09;
const lineLimit = 76;

/** Decoded bytes, and where each of them (and their end) begins in the encoded text. */
export interface DecodedQuotedPrintable {
  bytes: Buffer;
  /** One more entry than bytes: the last is the encoded text's length. */
  offsets: Uint32Array;
}

/**
 * Decodes RFC 2045 §6.7 and keeps where each byte came from. Faulty escapes stay as text; soft line
 * breaks and blanks at the end of a line are dropped.
 */
export function decodeQuotedPrintable(encoded: Buffer): DecodedQuotedPrintable {
  const bytes = Buffer.allocUnsafe(encoded.length);
  const offsets = new Uint32Array(encoded.length + 1);
  let length = 0;
  let at = 0;
  const take = (byte: number, width: number): void => {
    bytes[length] = byte;
    offsets[length] = at;
    length += 1;
    at += width;
  };
  while (at < encoded.length) {
    const byte = encoded[at] as number;
    const blanksEnd = behindBlanks(encoded, byte === equals ? at + 1 : at);
    const endsLine = blanksEnd >= encoded.length || isCrlf(encoded, blanksEnd);
    if (byte === equals && endsLine) at = blanksEnd + 2;
    else if (blanksEnd > at && byte !== equals && endsLine) at = blanksEnd;
    else if (byte === equals) takeEscape(encoded, at, take);
    else if (blanksEnd > at) while (at < blanksEnd) take(encoded[at] as number, 1);
    else take(byte, 1);
  }
  offsets[length] = encoded.length;
  return { bytes: bytes.subarray(0, length), offsets: offsets.subarray(0, length + 1) };
}

/** Encodes so that CRLF stays a line end and everything else survives any SMTP hop. */
export function encodeQuotedPrintable(bytes: Buffer): Buffer {
  const pieces: string[] = [];
  let column = 0;
  for (let at = 0; at < bytes.length; at += 1) {
    if (bytes[at] === cr && bytes[at + 1] === lf) {
      pieces.push("\r\n");
      column = 0;
      at += 1;
      continue;
    }
    const atLineEnd = at + 1 === bytes.length || bytes[at + 1] === cr;
    const piece = encodedByte(bytes[at] as number, atLineEnd);
    if (column + piece.length >= lineLimit) {
      pieces.push("=\r\n");
      column = 0;
    }
    pieces.push(piece);
    column += piece.length;
  }
  return Buffer.from(pieces.join(""), "latin1");
}

function encodedByte(byte: number, atLineEnd: boolean): string {
  const isBlank = byte === space || byte === tab;
  const isPlain = byte > space && byte < 0x7f && byte !== equals;
  if (isPlain || (isBlank && !atLineEnd)) return String.fromCharCode(byte);
  return `=${byte.toString(16).toUpperCase().padStart(2, "0")}`;
}

function takeEscape(
  encoded: Buffer,
  at: number,
  take: (byte: number, width: number) => void,
): void {
  const digits = encoded.toString("latin1", at + 1, at + 3);
  if (/^[0-9A-Fa-f]{2}$/.test(digits)) take(Number.parseInt(digits, 16), 3);
  else take(equals, 1);
}

function behindBlanks(encoded: Buffer, at: number): number {
  let end = at;
  while (encoded[end] === space || encoded[end] === tab) end += 1;
  return end;
}

function isCrlf(encoded: Buffer, at: number): boolean {
  return encoded[at] === cr && encoded[at + 1] === lf;
}
