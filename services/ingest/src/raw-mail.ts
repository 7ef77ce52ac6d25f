import { canonicalize, withoutNul } from "@rs-agent/shared/mail/canonical.ts";
import type { MemoryBudget } from "./memory-budget.ts";

/** Room before the mail, in which its Received field is written without moving the mail. */
const headroom = 2_048;
const firstCapacity = 16_384;

/** Why a mail was not kept; the rest of it is read and thrown away. */
export type Overflow = "too-large" | "too-much-in-flight";

/**
 * The bytes of one mail while they come in, in one growing buffer: a client that sends four bytes
 * at a time costs no more memory than one that sends whole lines.
 */
export class RawMail {
  readonly #maxBytes: number;
  readonly #budget: MemoryBudget;
  #buffer: Buffer = Buffer.alloc(0);
  #end = headroom;
  #overflow: Overflow | undefined;

  constructor(maxBytes: number, budget: MemoryBudget) {
    this.#maxBytes = maxBytes;
    this.#budget = budget;
  }

  get overflow(): Overflow | undefined {
    return this.#overflow;
  }

  /** Adds a copy of the chunk. A mail that overflowed keeps nothing and takes nothing more. */
  push(chunk: Buffer): void {
    if (this.#overflow !== undefined) return;
    const end = this.#end + chunk.length;
    if (end - headroom > this.#maxBytes) return this.#give("too-large");
    if (end > this.#buffer.length && !this.#growTo(end)) return this.#give("too-much-in-flight");
    chunk.copy(this.#buffer, this.#end);
    this.#end = end;
  }

  /** The canonical raw mail without its Received field, if asked for also without NUL characters. */
  canonical({ dropNul = false }: { dropNul?: boolean } = {}): Buffer {
    const received = this.#received();
    return canonicalize(dropNul ? withoutNul(received) : received);
  }

  /** `field` and the canonical mail as one buffer; without a copy if the mail came canonical. */
  withReceived(field: Buffer, canonical: Buffer): Buffer {
    const untouched = canonical.buffer === this.#buffer.buffer;
    if (!untouched || field.length > headroom) return Buffer.concat([field, canonical]);
    const start = headroom - field.length;
    field.copy(this.#buffer, start);
    return this.#buffer.subarray(start, this.#end);
  }

  /** Gives the memory back to the budget. The bytes must not be used after it. */
  release(): void {
    this.#budget.giveBack(this.#buffer.length);
    this.#buffer = Buffer.alloc(0);
    this.#end = headroom;
  }

  #received(): Buffer {
    return this.#buffer.subarray(headroom, Math.max(headroom, this.#end));
  }

  #growTo(needed: number): boolean {
    const doubled = Math.max(firstCapacity, this.#buffer.length * 2);
    const capacity = Math.max(needed, Math.min(doubled, this.#maxBytes + headroom));
    if (!this.#budget.take(capacity - this.#buffer.length)) return false;
    const grown = Buffer.allocUnsafeSlow(capacity);
    if (this.#buffer.length > 0) this.#buffer.copy(grown, headroom, headroom, this.#end);
    this.#buffer = grown;
    return true;
  }

  #give(overflow: Overflow): void {
    this.release();
    this.#overflow = overflow;
  }
}
