const lf = 0x0a;
const cr = 0x0d;
const colon = 0x3a;
const space = 0x20;
const tab = 0x09;

/** One field of the header, by offsets into the raw mail: nothing is copied until asked for. */
export interface HeaderField {
  /** In lower case; "" for a line that is not a field (it has no name or no colon, RFC 5322 §2.2). */
  name: string;
  start: number;
  /** The first byte of the field body, after the colon. */
  bodyStart: number;
  /** Just after the line end of the field's last line. */
  end: number;
}

/**
 * The fields of the header in order, each with its folded lines (RFC 5322 §2.2.3), up to the empty
 * line that ends the header. Takes CRLF and lone LF as line ends, and reads each byte of the header
 * once.
 */
export function* headerFields(raw: Buffer): Generator<HeaderField, void, undefined> {
  let start = 0;
  while (start < raw.length && !isEmptyLine(raw, start)) {
    let end = lineEnd(raw, start);
    while (end < raw.length && isBlank(raw[end]) && !isEmptyLine(raw, end)) end = lineEnd(raw, end);
    const bodyStart = colonBehindName(raw, start, end);
    const name =
      bodyStart === start
        ? ""
        : raw
            .toString("latin1", start, bodyStart - 1)
            .trimEnd()
            .toLowerCase();
    yield { name, start, bodyStart, end };
    start = end;
  }
}

/** Whether this is a field name by RFC 5322 §2.2; each program reads other lines in its own way. */
export function isFieldName(name: string): boolean {
  return /^[\x21-\x39\x3b-\x7e]+$/.test(name);
}

/**
 * A field body on one line, without its line ends and outer blanks: as UTF-8 if it is valid (RFC
 * 6532), otherwise as Latin-1. `limit` bounds how many bytes are looked at.
 */
export function unfolded(raw: Buffer, field: HeaderField, limit: number): string {
  const bytes = raw.subarray(field.bodyStart, Math.min(field.end, field.bodyStart + limit));
  const text = decode(bytes).replace(/\r?\n(?=[ \t])/g, "");

  return text.replace(/[\x00-\x1f\x7f]/g, " ").trim();
}

/** Where the field body starts; `start` itself if the line is not a field. */
function colonBehindName(raw: Buffer, start: number, end: number): number {
  for (let at = start; at < end; at += 1) {
    const byte = raw[at] as number;
    if (byte === colon) return at === start ? start : at + 1;
    // obs-optional of RFC 5322 §4.5.8: blanks may stand between the name and the colon.
    if (byte === lf || byte === cr) return start;
  }
  return start;
}

function decode(bytes: Buffer): string {
  const text = bytes.toString("utf8");
  return text.includes("\ufffd") ? bytes.toString("latin1") : text;
}

function lineEnd(raw: Buffer, from: number): number {
  const at = raw.indexOf(lf, from);
  return at < 0 ? raw.length : at + 1;
}

function isBlank(byte: number | undefined): boolean {
  return byte === space || byte === tab;
}

function isEmptyLine(raw: Buffer, at: number): boolean {
  return raw[at] === lf || (raw[at] === cr && raw[at + 1] === lf);
}
