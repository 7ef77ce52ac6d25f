import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import libmime from "libmime";
import { Splitter, type SplitterChunk } from "@zone-eu/mailsplit";
import { inChunks } from "@rs-agent/shared/mail/chunks.ts";

/** A MIME part as ranges of the whole mail. */
export interface MimePart {
  /**
   * In lower case. The default is `text/plain` (RFC 2045 §5.2), in a `multipart/digest`
   * `message/rfc822` (RFC 2046 §5.1.5).
   */
  contentType: string;
  /** In lower case, "" if absent. */
  encoding: string;
  charset: string;
  disposition: string;
  /** Its Content-Disposition names a file (RFC 2183 §2.3); a `name` of Content-Type does not count. */
  hasFilename: boolean;
  /** Without its angle brackets, "" if absent. */
  contentId: string;
  /** In `multipart/related`: the Content-ID of the part to begin with (RFC 2387 §3.2), or "". */
  start: string;
  /** `format=flowed` (RFC 3676). */
  flowed: boolean;
  children: MimePart[];
  headerStart: number;
  bodyStart: number;
  bodyEnd: number;
}

export type MimeStructure = { kind: "parts"; root: MimePart } | { kind: "odd"; reason: string };

type MimeNode = Extract<SplitterChunk, { type: "node" }>;

/** A mail with more parts is left alone. */
const maxParts = 100;

/**
 * The parts of a mail. mailsplit misreads some malformed mail, so its parts count only if, joined,
 * they are exactly the bytes that it was given.
 */
export async function mimeStructure(whole: Buffer, signal: AbortSignal): Promise<MimeStructure> {
  const splitter = new Splitter({ ignoreEmbedded: true, maxChildNodes: maxParts });
  const collected = new Collector(whole);
  try {
    const source = Readable.from(inChunks([whole], signal), { objectMode: true });
    await pipeline(source, splitter, async (chunks: AsyncIterable<SplitterChunk>) => {
      for await (const chunk of chunks) collected.add(chunk);
    });
  } catch (error) {
    signal.throwIfAborted();
    if ((error as { code?: unknown }).code !== "EMAXLEN") throw error;
    return {
      kind: "odd",
      reason: `it has more than ${maxParts} parts or a part header that is too large`,
    };
  }
  return collected.finish();
}

/** Follows mailsplit's chunks through the mail for as long as their bytes are the same. */
class Collector {
  readonly #whole: Buffer;
  readonly #parts = new Map<MimeNode, MimePart>();
  #root: MimePart | undefined;
  #at = 0;
  #same = true;

  constructor(whole: Buffer) {
    this.#whole = whole;
  }

  add(chunk: SplitterChunk): void {
    if (!this.#same) return;
    if (chunk.type === "node") {
      this.#open(chunk);
      return;
    }
    this.#pass(chunk.value);
    const part = this.#parts.get(chunk.node);
    if (chunk.type === "body" && part !== undefined) part.bodyEnd = this.#at;
  }

  finish(): MimeStructure {
    if (!this.#same || this.#at !== this.#whole.length || this.#root === undefined) {
      return { kind: "odd", reason: "its MIME structure is broken" };
    }
    return { kind: "parts", root: this.#root };
  }

  #open(node: MimeNode): void {
    const headerStart = this.#at;
    this.#pass(node.getHeaders());
    const parent = node.parentNode === false ? undefined : this.#parts.get(node.parentNode);
    const part = partOf(node, parent, headerStart, this.#at);
    this.#parts.set(node, part);
    if (node.parentNode === false) this.#root ??= part;
    else parent?.children.push(part);
  }

  #pass(bytes: Buffer): void {
    const end = this.#at + bytes.length;
    this.#same &&= bytes.equals(this.#whole.subarray(this.#at, end));
    this.#at = end;
  }
}

function partOf(
  node: MimeNode,
  parent: MimePart | undefined,
  headerStart: number,
  bodyStart: number,
): MimePart {
  const contentType = contentTypeOf(node, parent);
  const isRelated = contentType === "multipart/related";
  return {
    contentType,
    encoding: node.encoding || "",
    charset: (node.charset || "").toLowerCase().trim(),
    disposition: node.disposition || "",
    hasFilename: paramOf(node, "Content-Disposition", "filename") !== "",
    contentId: withoutBrackets(fieldOf(node, "Content-ID")),
    start: isRelated ? withoutBrackets(paramOf(node, "Content-Type", "start")) : "",
    flowed: node.flowed,
    children: [],
    headerStart,
    bodyStart,
    bodyEnd: bodyStart,
  };
}

function contentTypeOf(node: MimeNode, parent: MimePart | undefined): string {
  const isEntry = parent?.contentType === "multipart/digest";
  if (isEntry && fieldOf(node, "Content-Type") === "") return "message/rfc822";
  return node.contentType || "text/plain";
}

function fieldOf(node: MimeNode, name: string): string {
  return node.headers === false ? "" : node.headers.getFirst(name).trim();
}

function paramOf(node: MimeNode, field: string, param: string): string {
  const { params } = libmime.parseHeaderValue(fieldOf(node, field), { stripComments: true });
  return params[param] ?? "";
}

function withoutBrackets(id: string): string {
  return /<([^<>]*)>/.exec(id)?.[1] ?? id;
}
