/**
 * Cuts clamd's byte stream into its NUL-terminated replies; text without its NUL is not yet a reply.
 * A reply longer than `maxChars` is nonsense: `isTooLong` is then set, and nothing more is read.
 */
export class ReplyReader {
  readonly #maxChars: number;
  #partial = "";
  #isTooLong = false;

  constructor(maxChars: number) {
    this.#maxChars = maxChars;
  }

  /**
   * The replies that this chunk completes. They are read as Latin-1, so that no byte is lost at a
   * cut.
   */
  push(chunk: Buffer): string[] {
    if (this.#isTooLong) return [];
    const parts = (this.#partial + chunk.toString("latin1")).split("\0");
    const firstTooLong = parts.findIndex((part) => part.length > this.#maxChars);
    if (firstTooLong >= 0) {
      this.#isTooLong = true;
      this.#partial = parts[firstTooLong]?.slice(0, this.#maxChars) ?? "";
      return parts.slice(0, firstTooLong).map(decode);
    }
    this.#partial = parts.pop() ?? "";
    return parts.map(decode);
  }

  get hasPartial(): boolean {
    return this.#partial !== "";
  }

  get partial(): string {
    return decode(this.#partial);
  }

  get isTooLong(): boolean {
    return this.#isTooLong;
  }
}

function decode(latin1: string): string {
  return Buffer.from(latin1, "latin1").toString("utf8");
}
