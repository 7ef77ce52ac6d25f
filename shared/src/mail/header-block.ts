import libmime from "libmime";
import { headerFields, unfolded, type HeaderField } from "./header-fields.ts";

/**
 * Edits the header of a raw mail; every byte that no edit names stays as it was.
 *
 * 1. Without an edit, `build()` returns exactly the bytes that were read.
 * 2. A field that no edit names keeps its bytes: its case, folds, 8-bit octets and errors.
 * 3. What lies from `restOffset` on is never looked at, let alone touched.
 *
 * mailsplit's `Headers` is not used here: after any edit it rebuilds all lines, which changes mail
 * with invalid UTF-8, odd line breaks or an mbox line, and it finds fields only by name. Here a
 * field is a range of the raw mail, so its bytes stay exact; time is linear.
 */

/** A field of a block: a range of the raw mail, or of the bytes that an edit put in. */
export interface BlockField extends HeaderField {
  readonly source: Buffer;
}

const lineLimit = 998;
const niceLineLimit = 78;
const cr = 0x0d;
const lf = 0x0a;
const crlf = Buffer.from("\r\n");

/** Reads the header of a canonical raw mail. Any bytes have a header, if only an empty one. */
export function readHeaderBlock(raw: Buffer): HeaderBlock {
  const fields: BlockField[] = [];
  let end = 0;
  for (const field of headerFields(raw)) {
    fields.push({ ...(field.name === "" ? fieldFoldedAtColon(raw, field) : field), source: raw });
    end = field.end;
  }
  return new HeaderBlock(raw, fields, end);
}

/** The header of one mail while it is edited. Made by `readHeaderBlock`. */
export class HeaderBlock {
  readonly #raw: Buffer;
  readonly #restOffset: number;
  #fields: BlockField[];
  /** The empty line that ends the header; absent if the mail ends with its header. */
  #emptyLine: Buffer;
  #changed = false;

  constructor(raw: Buffer, fields: BlockField[], fieldsEnd: number) {
    this.#raw = raw;
    this.#fields = fields;
    const length = raw[fieldsEnd] === cr ? 2 : raw[fieldsEnd] === lf ? 1 : 0;
    this.#restOffset = fieldsEnd + length;
    this.#emptyLine = raw.subarray(fieldsEnd, this.#restOffset);
  }

  /** Where in the raw mail the body begins: after the empty line, or at the mail's end. */
  get restOffset(): number {
    return this.#restOffset;
  }

  /** Whether `build()` would return other bytes than were read. */
  get changed(): boolean {
    return this.#changed;
  }

  get fields(): readonly BlockField[] {
    return this.#fields;
  }

  /** The fields of that name (in lower case), in order. */
  named(name: string): BlockField[] {
    return this.#fields.filter((field) => field.name === name);
  }

  /** Removes the fields that `matches` picks and returns how many there were. */
  removeWhere(matches: (field: BlockField) => boolean): number {
    const kept = this.#fields.filter((field) => !matches(field));
    const removed = this.#fields.length - kept.length;
    if (removed === 0) return 0;
    this.#fields = kept;
    this.#changed = true;
    return removed;
  }

  /**
   * Puts fields (bytes as made by `foldField`) on top, in the order given. If the mail starts with
   * a folded line that belongs to no field, they go after it: below them, that line would become
   * part of the last one.
   */
  prepend(...fields: readonly Buffer[]): void {
    const first = this.#fields.findIndex((field) => !startsWithBlank(field));
    this.#insert(first < 0 ? this.#fields.length : first, fields);
  }

  /** Puts fields below the last one. */
  append(...fields: readonly Buffer[]): void {
    this.#insert(this.#fields.length, fields);
  }

  /**
   * Replaces each field for which `rewrite` returns bytes (one whole field), and returns how many
   * were replaced. One pass, however many fields of a name there are.
   */
  rewrite(rewrite: (field: BlockField) => Buffer | undefined): number {
    let rewritten = 0;
    this.#fields = this.#fields.map((field) => {
      const bytes = rewrite(field);
      if (bytes === undefined) return field;
      rewritten += 1;
      return soleField(bytes);
    });
    if (rewritten > 0) this.#changed = true;
    return rewritten;
  }

  /** Whether an empty line ends the header, so that a body can follow. */
  get isClosed(): boolean {
    return this.#emptyLine.length > 0;
  }

  /** Makes sure that an empty line ends the header, so that a body can follow. */
  closeHeader(): void {
    if (this.#emptyLine.length > 0) return;
    this.#emptyLine = crlf;
    this.#changed = true;
  }

  /** The header's bytes with the empty line that ends it, if it has one. */
  build(): Buffer {
    if (!this.#changed) return this.#raw.subarray(0, this.#restOffset);
    return Buffer.concat([...joinedRanges(this.#fields), this.#emptyLine]);
  }

  #insert(at: number, fields: readonly Buffer[]): void {
    if (fields.length === 0) return;
    this.#fields = [
      ...this.#fields.slice(0, at),
      ...fields.map(soleField),
      ...this.#fields.slice(at),
    ];
    this.#changed = true;
  }
}

/** The field's bytes, including its line end: a view, not a copy. */
export function fieldBytes(field: BlockField): Buffer {
  return field.source.subarray(field.start, field.end);
}

/** The bytes after the colon, including folds and line end: a view, not a copy. */
export function fieldBody(field: BlockField): Buffer {
  return field.source.subarray(field.bodyStart, field.end);
}

/** The whole field body on one line (see `unfolded`). */
export function unfoldedBody(field: BlockField): string {
  return unfolded(field.source, field, field.end - field.bodyStart);
}

/**
 * A new field as bytes, CRLF included: folded at blanks, and after each `breakBehind`, to 78
 * characters if possible and to 998 in any case (RFC 5322 §2.1.1). Control characters become
 * blanks, so that no value can smuggle in another field; anything but ASCII becomes encoded words
 * (RFC 2047).
 */
export function foldField(name: string, body: string, breakBehind?: string): Buffer {
  return foldBytes(name, encodedText(body), breakBehind);
}

/**
 * As `foldField`, for a body whose characters stand for bytes (Latin-1): 8-bit octets stay as they
 * are.
 */
export function foldBytes(name: string, body: string, breakBehind?: string): Buffer {
  const lines = [`${name}:`];
  for (const [blanks, word] of wordsOf(withoutControls(body))) {
    const pieces = breakBehind === undefined ? [word] : word.split(behind(breakBehind));
    pieces.forEach((piece, index) => {
      const first = lines.length === 1 && lines[0] === `${name}:`;
      place(lines, index === 0 ? blanks : "", piece, first);
    });
  }
  return Buffer.from(`${lines.join("\r\n")}\r\n`, "latin1");
}

/** ASCII without control characters, other text as encoded words. */
export function encodedText(text: string): string {
  const clean = withoutControls(text);
  return /^[\x20-\x7e]*$/.test(clean) ? clean : libmime.encodeWords(clean, "Q", 52);
}

/**
 * Removes outer blanks and turns control characters into blanks; `trim` would remove 8-bit octets
 * too.
 */
function withoutControls(text: string): string {
  const clean = text.replace(/[\x00-\x1f\x7f]/g, " ");
  let start = 0;
  let end = clean.length;
  while (clean[start] === " ") start += 1;
  while (end > start && clean[end - 1] === " ") end -= 1;
  return clean.slice(start, end);
}

/** Words with the blanks before them; the first one always has one. */
function* wordsOf(text: string): Generator<[blanks: string, word: string]> {
  for (const [, blanks, word] of text.matchAll(/( *)([^ ]+)/g)) {
    yield [blanks === "" ? " " : (blanks as string), word as string];
  }
}

function behind(mark: string): RegExp {
  return new RegExp(`(?<=${mark.replace(/[^\w]/g, "\\$&")})`);
}

/**
 * Puts one piece on the last line or on a new one. The first word stays on the line of the name.
 */
function place(lines: string[], blanks: string, piece: string, first: boolean): void {
  const line = lines.at(-1) as string;
  const length = line.length + blanks.length + piece.length;
  if (length <= niceLineLimit || (first && length <= lineLimit)) {
    lines[lines.length - 1] = line + blanks + piece;
    return;
  }
  let indent = blanks === "" ? "\t" : blanks.slice(0, niceLineLimit);
  let rest = piece;
  while (rest !== "") {
    const room = lineLimit - indent.length;
    lines.push(indent + rest.slice(0, room));
    rest = rest.slice(room);
    indent = " ";
  }
}

/** Parses the bytes of an edit, which must be one whole field: anything else is our bug. */
function soleField(bytes: Buffer): BlockField {
  const [field, ...others] = [...headerFields(bytes)];
  const whole = field?.name !== "" && field?.end === bytes.length && bytes.at(-1) === lf;
  if (field === undefined || others.length > 0 || !whole) {
    throw new Error("what is put into a header must be one whole field");
  }
  return { ...field, source: bytes };
}

/**
 * Joins neighbours in the same bytes into one range, so that 100,000 untouched fields are one copy.
 */
function joinedRanges(fields: readonly BlockField[]): Buffer[] {
  const ranges: { source: Buffer; start: number; end: number }[] = [];
  for (const { source, start, end } of fields) {
    const last = ranges.at(-1);
    if (last?.source === source && last.end === start) last.end = end;
    else ranges.push({ source, start, end });
  }
  return ranges.map(({ source, start, end }) => source.subarray(start, end));
}

/**
 * A field whose name is separated from its colon by a fold (obsolete syntax, RFC 5322 §4.5.8). Some
 * readers accept it as a field, so a caller that removes fields must see its name.
 */
function fieldFoldedAtColon(raw: Buffer, field: HeaderField): HeaderField {
  const colon = raw
    .subarray(field.start, Math.min(field.end, field.start + lineLimit))
    .indexOf(":");
  if (colon < 1) return field;
  const text = raw.toString("latin1", field.start, field.start + colon);
  const [, name] = /^([\x21-\x39\x3b-\x7e]+)[ \t\r\n]+$/.exec(text) ?? [];
  if (name === undefined) return field;
  return { ...field, name: name.toLowerCase(), bodyStart: field.start + colon + 1 };
}

function startsWithBlank(field: BlockField): boolean {
  const byte = field.source[field.start];
  return byte === 0x20 || byte === 0x09;
}
