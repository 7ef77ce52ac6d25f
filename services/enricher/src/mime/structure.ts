import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { Splitter, type SplitterChunk } from "@zone-eu/mailsplit";
import { inChunks } from "../chunks.ts";

/** A MIME part as ranges of the whole mail. */
export interface MimePart {
  /** In lower case; `text/plain` where the mail says nothing (RFC 2045 §5.2). */
  contentType: string;
  /** In lower case, "" where absent. */
  encoding: string;
  charset: string;
  disposition: string;
  hasFilename: boolean;
  /** `format=flowed` (RFC 3676). */
  flowed: boolean;
  children: MimePart[];
  headerStart: number;
  bodyStart: number;
  bodyEnd: number;
}

export type MimeStructure = { kind: "parts"; root: MimePart } | { kind: "odd"; reason: string };

type MimeNode = Extract<SplitterChunk, { type: "node" }>;

/** Parts in one mail; one with more is left alone. */
const maxParts = 100;

/**
 * The parts of a mail. mailsplit reads some malformed mail otherwise than it is: only where what it
 * found is, joined, the very bytes that it was given, do its parts count.
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
    return { kind: "odd", reason: `it has more than ${maxParts} parts or a too large part header` };
  }
  return collected.finish();
}

/** Follows mailsplit's chunks through the mail's bytes, as long as they are the same. */
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
    const part = partOf(node, headerStart, this.#at);
    this.#parts.set(node, part);
    if (node.parentNode === false) this.#root ??= part;
    else this.#parts.get(node.parentNode)?.children.push(part);
  }

  #pass(bytes: Buffer): void {
    const end = this.#at + bytes.length;
    this.#same &&= bytes.equals(this.#whole.subarray(this.#at, end));
    this.#at = end;
  }
}

function partOf(node: MimeNode, headerStart: number, bodyStart: number): MimePart {
  return {
    contentType: node.contentType || "text/plain",
    encoding: node.encoding || "",
    charset: (node.charset || "").toLowerCase().trim(),
    disposition: node.disposition || "",
    hasFilename: Boolean(node.filename),
    flowed: node.flowed,
    children: [],
    headerStart,
    bodyStart,
    bodyEnd: bodyStart,
  };
}
