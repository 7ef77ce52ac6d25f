const cr = 0x0d;
const lf = 0x0a;
const dot = 0x2e;
const tab = 0x09;
const lineBreakAndDot = Buffer.from("\r\n.");

/** This many bytes are looked at and copied one by one before a native search or copy is worth it. */
const nearBytes = 64;

/** What a chunk brought. */
export interface Decoded {
  /** Bytes of the mail: a view of the chunk if no byte of it went. */
  content: Buffer;
  /** How many bytes of the chunk the mail took with its end; undefined while it goes on. */
  end: number | undefined;
}

/**
 * How much of CRLF.CRLF the bytes so far end with: nothing, CR, CRLF, the dot, the CR after it.
 * A dot and the CR after it are held back until it is known what they are.
 */
type Progress = "none" | "cr" | "line" | "dot" | "dot-cr";

/**
 * Takes the mail out of the bytes that follow DATA (RFC 5321 §4.5.2).
 *
 * 1. However the bytes are cut into chunks, the same mail comes out.
 * 2. Only CRLF.CRLF ends it, or .CRLF at its very beginning; no lone CR or LF is a line end (§2.3.8).
 * 3. The dot that begins a line is removed if text follows, even another dot. Before a control
 *    character, which no client sends there, it stays: what is not an end is content.
 * 4. Each chunk is searched in strides and gives at most one piece: lines of dots cost what text does.
 */
export class DataDecoder {
  #progress: Progress = "line";

  push(chunk: Buffer): Decoded {
    const content = new Content(chunk);
    let at = 0;
    /** Where the line's dot is; before the chunk if the one before brought it. */
    let dotAt = this.#progress === "dot-cr" ? -2 : -1;
    while (at < chunk.length) {
      const byte = chunk[at] as number;
      switch (this.#progress) {
        case "none":
          at = this.#skipText(chunk, at);
          break;
        case "cr":
          this.#progress = byte === lf ? "line" : byte === cr ? "cr" : "none";
          at += 1;
          break;
        case "line":
          if (byte === dot) {
            dotAt = at;
            at += 1;
          }
          this.#progress = byte === dot ? "dot" : "none";
          break;
        case "dot":
          if (byte === cr) at += 1;
          else if (isText(byte)) content.leaveOut(dotAt);
          else content.keep(".", dotAt);
          this.#progress = byte === cr ? "dot-cr" : "none";
          break;
        case "dot-cr":
          if (byte === lf) {
            this.#progress = "line";
            return { content: content.upTo(dotAt), end: at + 1 };
          }
          content.keep(".\r", dotAt);
          this.#progress = "cr";
      }
    }
    const isHeld = this.#progress === "dot" || this.#progress === "dot-cr";
    return { content: content.upTo(isHeld ? dotAt : chunk.length), end: undefined };
  }

  /** To the next line that begins with a dot, or after the chunk. */
  #skipText(chunk: Buffer, from: number): number {
    const at = nextDotLine(chunk, from);
    if (at >= 0) {
      this.#progress = "line";
      return at;
    }
    const last = chunk.at(-1);
    const endsLine = last === lf && chunk.length - from >= 2 && chunk.at(-2) === cr;
    this.#progress = last === cr ? "cr" : endsLine ? "line" : "none";
    return chunk.length;
  }
}

/** Where the dot of the next CRLF. is whose CR is at `from` or after it; -1 without one. */
function nextDotLine(chunk: Buffer, from: number): number {
  const near = Math.min(from + nearBytes, chunk.length);
  for (let at = from + 2; at < near; at += 1) {
    if (chunk[at] === dot && chunk[at - 1] === lf && chunk[at - 2] === cr) return at;
  }
  const found = chunk.indexOf(lineBreakAndDot, Math.max(from, near - 2));
  return found < 0 ? -1 : found + 2;
}

/** Printable, blank or not ASCII; the C1 controls are none (some take U+0085 for a line end). */
function isText(byte: number): boolean {
  return byte === tab || (byte >= 0x20 && byte < 0x7f) || byte >= 0xa0;
}

/** The bytes of one chunk that stay: copied only once one has gone, or one held back has come. */
class Content {
  readonly #chunk: Buffer;
  #copy: Buffer | undefined;
  #length = 0;
  #from = 0;

  constructor(chunk: Buffer) {
    this.#chunk = chunk;
  }

  leaveOut(at: number): void {
    // The dot of the chunk before was held back: it has never been among the content.
    if (at < 0) return;
    this.#take(at);
    this.#from = at + 1;
  }

  /** What was held back is content; if the chunk before ended with it, it comes first. */
  keep(held: string, at: number): void {
    if (at >= 0) return;
    this.#copy ??= this.#room();
    this.#length = this.#copy.write(held.slice(0, -at), "latin1");
  }

  /** The content up to there. */
  upTo(end: number): Buffer {
    if (this.#copy === undefined) return this.#chunk.subarray(0, Math.max(0, end));
    this.#take(end);
    return this.#copy.subarray(0, this.#length);
  }

  #take(end: number): void {
    const chunk = this.#chunk;
    const copy = (this.#copy ??= this.#room());
    if (end - this.#from > nearBytes) {
      this.#length += chunk.copy(copy, this.#length, this.#from, end);
      return;
    }
    let to = this.#length;
    for (let at = this.#from; at < end; at += 1) {
      copy[to] = chunk[at] as number;
      to += 1;
    }
    this.#length = to;
  }

  #room(): Buffer {
    return Buffer.allocUnsafe(this.#chunk.length + 2);
  }
}
