import type { Method } from "./request.ts";

/** A reply that fits the protocol. Header names are in lower case. */
export interface SpamdReply {
  code: number;
  message: string;
  headers: ReadonlyMap<string, string>;
  body: Buffer;
}

export type Reading =
  | { kind: "more" }
  | { kind: "reply"; reply: SpamdReply }
  /** Outside the grammar: it says nothing about any mail. */
  | { kind: "garbled"; detail: string };

const maxHeadBytes = 8_192;
const emptyLine = Buffer.from("\r\n\r\n");
const withBody: readonly Method[] = ["SYMBOLS", "REPORT", "HEADERS"];

/**
 * Reads one reply of spamd (spamd/PROTOCOL) from a stream. The reply is whole as soon as its
 * Content-length is reached: spamd may still do chores before it closes.
 *
 * 1. The status line, every header line and Content-length must fit; nothing may follow the body.
 * 2. Memory is bounded by `maxBytes` of body and 8 KB of head.
 * 3. How the bytes are cut into chunks makes no difference to what is read.
 */
export class ReplyReader {
  readonly #method: Method;
  readonly #maxBytes: number;
  #head = Buffer.alloc(0);
  #parsed: Omit<SpamdReply, "body"> | undefined;
  #body: Buffer[] = [];
  #bodyLength = 0;
  #expected = 0;

  constructor(method: Method, maxBytes: number) {
    this.#method = method;
    this.#maxBytes = maxBytes;
  }

  push(chunk: Buffer): Reading {
    return this.#parsed === undefined ? this.#pushHead(chunk) : this.#pushBody(chunk);
  }

  /** The other side has closed: only a whole reply counts, and none has come. */
  end(): Reading {
    if (this.#parsed !== undefined) {
      return garbled(`it closed after ${this.#bodyLength} of ${this.#expected} bytes`);
    }
    const said = this.#head.length === 0 ? "without a word" : `after ${shown(this.#head)}`;
    return garbled(`it closed early, ${said}`);
  }

  #pushHead(chunk: Buffer): Reading {
    this.#head = Buffer.concat([this.#head, chunk]);
    const lineEnd = this.#head.indexOf("\r\n");
    if (lineEnd < 0) return this.#waitForHead();
    const status = parseStatusLine(this.#head.toString("latin1", 0, lineEnd));
    if (status === undefined) return garbled(`no status line: ${shown(this.#head)}`);
    // Errors and PONG are the status line alone.
    if (status.code !== 0 || this.#method === "PING") {
      const rest = this.#head.subarray(lineEnd + 2);
      if (rest.length > 0) return garbled(`bytes after ${shown(this.#head)}`);
      return { kind: "reply", reply: { ...status, headers: new Map(), body: rest } };
    }
    const headEnd = this.#head.indexOf(emptyLine, lineEnd);
    if (headEnd < 0) return this.#waitForHead();
    const headers = parseHeaders(this.#head.toString("latin1", lineEnd, headEnd));
    if (headers === undefined) return garbled(`a wrong header line in ${shown(this.#head)}`);
    this.#parsed = { ...status, headers };
    return this.#beginBody(this.#head.subarray(headEnd + emptyLine.length), headers);
  }

  #waitForHead(): Reading {
    if (this.#head.length <= maxHeadBytes) return { kind: "more" };
    return garbled(`no end of the head in ${maxHeadBytes} bytes`);
  }

  #beginBody(rest: Buffer, headers: ReadonlyMap<string, string>): Reading {
    const given = headers.get("content-length");
    if (withBody.includes(this.#method)) {
      if (given === undefined) return garbled("no Content-length");
    } else if (this.#method === "TELL" && given === undefined) {
      // spamd ends its headers twice here.
      if (!/^(\r\n)*$/.test(rest.toString("latin1"))) return garbled("bytes after TELL's reply");
      return this.#pushBody(Buffer.alloc(0));
    }
    if (given !== undefined && !/^\d{1,9}$/.test(given)) {
      return garbled(`Content-length: ${given.slice(0, 40)}`);
    }
    this.#expected = Number(given ?? 0);
    if (this.#expected > this.#maxBytes) {
      return garbled(`a reply of ${this.#expected} bytes; the limit is ${this.#maxBytes}`);
    }
    return this.#pushBody(rest);
  }

  #pushBody(chunk: Buffer): Reading {
    this.#bodyLength += chunk.length;
    if (this.#bodyLength > this.#expected) {
      return garbled(`more bytes than its Content-length of ${this.#expected}`);
    }
    this.#body.push(chunk);
    if (this.#bodyLength < this.#expected || this.#parsed === undefined) return { kind: "more" };
    return { kind: "reply", reply: { ...this.#parsed, body: Buffer.concat(this.#body) } };
  }
}

/** Reads a reply that has arrived as a whole. */
export function parseReply(bytes: Buffer, method: Method, maxBytes: number): Reading {
  const reader = new ReplyReader(method, maxBytes);
  const reading = reader.push(bytes);
  return reading.kind === "more" ? reader.end() : reading;
}

function parseStatusLine(line: string): { code: number; message: string } | undefined {
  const parts = /^SPAMD\/\d{1,3}\.\d{1,3} (\d{1,3}) ([\x20-\xff]{1,500})$/.exec(line);
  if (parts === null) return undefined;
  return { code: Number(parts[1]), message: parts[2] ?? "" };
}

function parseHeaders(block: string): ReadonlyMap<string, string> | undefined {
  const headers = new Map<string, string>();
  if (block === "") return headers;
  for (const line of block.slice(2).split("\r\n")) {
    const parts = /^([A-Za-z][A-Za-z-]*):[ \t]*([\x20-\xff]*)$/.exec(line);
    const name = parts?.[1]?.toLowerCase();
    if (name === undefined || headers.has(name)) return undefined;
    headers.set(name, (parts?.[2] ?? "").trim());
  }
  return headers;
}

function garbled(detail: string): Reading {
  return { kind: "garbled", detail };
}

function shown(bytes: Buffer): string {
  return JSON.stringify(bytes.toString("latin1", 0, 120));
}
