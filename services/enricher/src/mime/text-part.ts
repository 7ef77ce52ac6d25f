import iconv from "iconv-lite";
import libmime from "libmime";
import {
  foldField,
  readHeaderBlock,
  unfoldedBody,
  type HeaderBlock,
} from "@rs-agent/shared/mail/header-block.ts";
import { isFieldName } from "@rs-agent/shared/mail/header-fields.ts";
import { htmlEnd } from "./html-end.ts";
import { identityEncodings, openPartBody, type PartBody } from "./part-body.ts";
import { encodeQuotedPrintable } from "./quoted-printable.ts";
import type { MimePart } from "./structure.ts";

/** What is put into a text part, in a form for each type. */
export interface Addition {
  text: string;
  html: string;
}

/** A part's new bytes, its header included; or why there are none. */
export type Insertion =
  | { kind: "piece"; start: number; end: number; bytes: Buffer }
  | { kind: "impossible"; reason: string };

const lineLimit = 998;

/**
 * Adds text to a part: at the end of plain text, before `</body>` in HTML. If charset and encoding
 * can hold it, nothing else of the part changes; otherwise plain text becomes UTF-8 in
 * quoted-printable, provided that nothing is lost. A part that ends with its header gets a body.
 */
export function withInsertion(whole: Buffer, part: MimePart, addition: Addition): Insertion {
  const body = openPartBody(whole.subarray(part.bodyStart, part.bodyEnd), part.encoding);
  if (body === undefined) return impossible(`its text is not in the encoding ${part.encoding}`);
  const charset = part.charset === "" ? "us-ascii" : part.charset;
  if (!isAsciiCompatible(charset)) return impossible(`its charset ${charset} cannot be extended`);
  const open = { part, header: headerOf(whole, part), body };
  return part.contentType === "text/html"
    ? inHtml(open, addition.html)
    : inText(open, charset, textAddition(addition.text, part, body));
}

/** A part whose body can be read. */
interface OpenPart {
  part: MimePart;
  header: HeaderBlock;
  body: PartBody;
}

function headerOf(whole: Buffer, { headerStart, bodyStart }: MimePart): HeaderBlock {
  return readHeaderBlock(whole.subarray(headerStart, bodyStart));
}

function inHtml(open: OpenPart, html: string): Insertion {
  const bytes = Buffer.from(htmlAddition(html), "latin1");
  return inserted(open, htmlEnd(open.body.decoded.toString("latin1")), bytes);
}

function inText(open: OpenPart, charset: string, text: string): Insertion {
  const { decoded } = open.body;
  const bytes = iconv.encode(text, charset);
  if (iconv.decode(bytes, charset) === text) return inserted(open, decoded.length, bytes);
  const present = iconv.decode(decoded, charset);
  if (!iconv.encode(present, charset).equals(decoded)) {
    return impossible(`its text is not in its charset ${charset}`);
  }
  return quotedPrintable(open, Buffer.from(present + text), "utf-8");
}

function inserted(open: OpenPart, at: number, bytes: Buffer): Insertion {
  const { part, header, body } = open;
  if (identityEncodings.includes(part.encoding) && !fitsUnencoded(bytes, part.encoding)) {
    const { decoded } = body;
    const longer = Buffer.concat([decoded.subarray(0, at), bytes, decoded.subarray(at)]);
    return quotedPrintable(open, longer, undefined);
  }
  if (!header.isClosed && isOdd(header)) return oddHeader;
  header.closeHeader();
  return piece(part, header, body.insert(at, bytes));
}

function piece({ headerStart, bodyEnd }: MimePart, header: HeaderBlock, body: Buffer): Insertion {
  const bytes = Buffer.concat([header.build(), body]);
  return { kind: "piece", start: headerStart, end: bodyEnd, bytes };
}

function impossible(reason: string): Insertion {
  return { kind: "impossible", reason };
}

/**
 * Some readers end the header at a line that is not a field. They would show as text what is put
 * below that line.
 */
const oddHeader = impossible("a line in the header of its text is not a header field");

function isOdd(header: HeaderBlock): boolean {
  return header.fields.some(({ name }) => !isFieldName(name));
}

/** Charsets in which ASCII text always is ASCII bytes: not UTF-16, UTF-7 or ISO-2022. */
function isAsciiCompatible(charset: string): boolean {
  const probe = "Az09<>&;+-\r\n";
  return iconv.encodingExists(charset) && iconv.encode(probe, charset).toString("latin1") === probe;
}

/** HTML in ASCII: other characters by number, so that the charset does not matter. */
function htmlAddition(html: string): string {
  const ascii = html.replace(/[^\x00-\x7f]/gu, (one) => `&#${String(one.codePointAt(0))};`);
  return `\r\n${withCrlf(ascii)}\r\n`;
}

function textAddition(text: string, part: MimePart, { decoded }: PartBody): string {
  const lines = withCrlf(text).split("\r\n");
  const stuffed = part.flowed ? lines.map(flowedLine) : lines;
  const addition = `${stuffed.join("\r\n")}\r\n`;
  if (decoded.length === 0) return addition;
  return decoded.at(-1) === 0x0a ? `\r\n${addition}` : `\r\n\r\n${addition}`;
}

/**
 * A line that format=flowed neither joins to the next nor takes for a quote (RFC 3676 §4.2, §4.4);
 * the signature separator keeps its blank.
 */
function flowedLine(line: string): string {
  const fixed = line === "-- " ? line : line.trimEnd();
  return /^(?: |>|From )/.test(fixed) ? ` ${fixed}` : fixed;
}

function withCrlf(text: string): string {
  return text.trim().replace(/\r\n|\r|\n/g, "\r\n");
}

function fitsUnencoded(bytes: Buffer, encoding: string): boolean {
  const text = bytes.toString("latin1");
  const isShort = text.split("\r\n").every((line) => line.length <= lineLimit);
  return isShort && (encoding === "8bit" || encoding === "binary" || /^[\x00-\x7f]*$/.test(text));
}

/** The part with its new body in quoted-printable, and a header that says so. */
function quotedPrintable(
  { part, header }: OpenPart,
  decoded: Buffer,
  charset: string | undefined,
): Insertion {
  if (isOdd(header)) return oddHeader;
  const isMail = part.headerStart === 0;
  if (isMail && header.named("mime-version").length === 0) {
    header.append(foldField("MIME-Version", "1.0"));
  }
  if (charset !== undefined) setCharset(header, charset);
  header.removeWhere(({ name }) => name === "content-transfer-encoding");
  header.append(foldField("Content-Transfer-Encoding", "quoted-printable"));
  header.closeHeader();
  return piece(part, header, encodeQuotedPrintable(decoded));
}

/** Comments are dropped: a reader may take text inside one for the charset (RFC 2045 §5.1). */
function setCharset(header: HeaderBlock, charset: string): void {
  const [present] = header.named("content-type");
  const value = libmime.parseHeaderValue(
    present === undefined ? "text/plain" : unfoldedBody(present),
    { stripComments: true },
  );
  value.params = { ...value.params, charset };
  header.removeWhere(({ name }) => name === "content-type");
  header.append(foldField("Content-Type", libmime.buildHeaderValue(value)));
}
