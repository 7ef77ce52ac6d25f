import { proseLine } from "@rs-agent/kit/mails/prose.ts";
import { randomOf, type Random } from "@rs-agent/kit/random.ts";

const poolLines = 4_096;

/**
 * Letters from which texts are cut: made once, because a flood must not wait for its own text.
 * Lines end in CRLF and none begins with a dot.
 */
export class TextPool {
  readonly #bytes: Buffer;
  /** Where each line begins, and where the last one ends. */
  readonly #starts: number[] = [0];

  constructor(seed: number) {
    const random = randomOf(seed, "text pool");
    const lines = Array.from({ length: poolLines }, () => `${proseLine(random)}\r\n`);
    this.#bytes = Buffer.from(lines.join(""), "latin1");
    for (const line of lines) this.#starts.push((this.#starts.at(-1) ?? 0) + line.length);
  }

  /** Whole lines from a random one on: `size` bytes, up to the end of the last line. */
  cut(size: number, random: Random): Buffer {
    const pieces: Buffer[] = [];
    let from = this.#starts[random.between(0, poolLines - 1)] ?? 0;
    for (let left = size; left > 0; from = 0) {
      const to = this.#lineEnd(from + left);
      pieces.push(this.#bytes.subarray(from, to));
      left -= to - from;
    }
    return Buffer.concat(pieces);
  }

  /** The end of the line that contains `at`. */
  #lineEnd(at: number): number {
    if (at >= this.#bytes.length) return this.#bytes.length;
    return this.#bytes.indexOf("\n", Math.max(0, at - 1)) + 1;
  }
}
