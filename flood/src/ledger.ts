/** Where a mail is from the sender's point of view. */
export const mailStatuses = [
  "none",
  "due",
  "accepted",
  "put-off",
  "refused",
  "failed",
  "unknown",
  "not-sent",
] as const;
export type MailStatus = (typeof mailStatuses)[number];

const chunkMails = 16_384;
/** About 30 bytes each: a run of this many takes 300 MB. */
export const mostMails = 10_000_000;

interface Chunk {
  atMs: Float64Array;
  status: Uint8Array;
  /** One bit for each recipient that was refused. */
  refused: Uint8Array;
  isDone: Uint8Array;
  /** How often each recipient's copy came, by mail and place. */
  copies: Uint8Array;
}

/**
 * What is known of each mail of a run, by number, in a few bytes each. A recipient is named by its
 * place in the mail's `rcptTo`.
 */
export class Ledger {
  readonly #places: number;
  readonly #chunks: Chunk[] = [];
  #size = 0;

  /** `places`: the most recipients of a mail. */
  constructor(places: number) {
    this.#places = places;
  }

  /** All numbers are below this. */
  get size(): number {
    return this.#size;
  }

  due(number: number, atMs: number): void {
    const chunk = this.#chunkOf(number);
    chunk.atMs[number % chunkMails] = atMs;
    chunk.status[number % chunkMails] = mailStatuses.indexOf("due");
    this.#size = Math.max(this.#size, number + 1);
  }

  /** When it should have been sent, by the monotonic clock. */
  atMs(number: number): number {
    return this.#chunkOf(number).atMs[number % chunkMails] ?? 0;
  }

  status(number: number): MailStatus {
    return mailStatuses[this.#chunkOf(number).status[number % chunkMails] ?? 0] ?? "none";
  }

  setStatus(number: number, status: MailStatus, refused: readonly number[] = []): void {
    const chunk = this.#chunkOf(number);
    chunk.status[number % chunkMails] = mailStatuses.indexOf(status);
    chunk.refused[number % chunkMails] = refused.reduce((bits, place) => bits | (1 << place), 0);
  }

  isRefused(number: number, place: number): boolean {
    return (((this.#chunkOf(number).refused[number % chunkMails] ?? 0) >> place) & 1) === 1;
  }

  /** Counts another copy; returns how many there are now. */
  addCopy(number: number, place: number): number {
    const { copies } = this.#chunkOf(number);
    const at = (number % chunkMails) * this.#places + place;
    const count = Math.min(255, (copies[at] ?? 0) + 1);
    copies[at] = count;
    return count;
  }

  copies(number: number, place: number): number {
    return this.#chunkOf(number).copies[(number % chunkMails) * this.#places + place] ?? 0;
  }

  /** Whether every copy that was to come has come. */
  isDone(number: number): boolean {
    return this.#chunkOf(number).isDone[number % chunkMails] === 1;
  }

  setDone(number: number): void {
    this.#chunkOf(number).isDone[number % chunkMails] = 1;
  }

  #chunkOf(number: number): Chunk {
    const nth = Math.floor(number / chunkMails);
    return (this.#chunks[nth] ??= {
      atMs: new Float64Array(chunkMails),
      status: new Uint8Array(chunkMails),
      refused: new Uint8Array(chunkMails),
      isDone: new Uint8Array(chunkMails),
      copies: new Uint8Array(chunkMails * this.#places),
    });
  }
}
