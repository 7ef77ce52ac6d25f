/**
 * A small seeded generator (sfc32 by C. Doty-Humphrey, public domain). Everything that a schedule
 * leaves to chance comes from one of these; streams of different names do not disturb each other.
 */
export class Random {
  readonly #seed: number;
  readonly #name: string;
  #a: number;
  #b: number;
  #c: number;
  #count = 1;

  constructor(seed: number, name: string) {
    this.#seed = seed;
    this.#name = name;
    let hash = 0x811c9dc5;
    for (const text of [String(seed), name]) {
      for (let at = 0; at < text.length; at++) {
        hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
      }
      hash = Math.imul(hash ^ 0x1f, 0x01000193);
    }
    this.#a = hash;
    this.#b = Math.floor(seed / 2 ** 32) ^ 0x9e3779b9;
    this.#c = seed | 0;
    for (let round = 0; round < 12; round++) this.next();
  }

  /** The stream of another subject; the same name gives the same stream again. */
  fork(name: string): Random {
    return new Random(this.#seed, `${this.#name}/${name}`);
  }

  /** In [0, 1). */
  next(): number {
    const sum = (((this.#a + this.#b) | 0) + this.#count) | 0;
    this.#count = (this.#count + 1) | 0;
    this.#a = this.#b ^ (this.#b >>> 9);
    this.#b = (this.#c + (this.#c << 3)) | 0;
    this.#c = ((this.#c << 21) | (this.#c >>> 11)) + sum;
    return (sum >>> 0) / 4_294_967_296;
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  between(least: number, most: number): number {
    return least + this.next() * (most - least);
  }

  /** Both ends included. */
  int(least: number, most: number): number {
    return least + Math.floor(this.next() * (most - least + 1));
  }

  pick<T>(list: readonly T[]): T {
    const picked = list[Math.floor(this.next() * list.length)];
    if (picked === undefined) throw new RangeError("nothing to pick from");
    return picked;
  }

  /** Mostly near `usual`, seldom far above it: waits and latencies. */
  around(usual: number): number {
    const unit = this.next();
    return usual * (0.5 + unit + (unit > 0.97 ? 20 * this.next() : 0));
  }

  fill(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at++) bytes[at] = Math.floor(this.next() * 256);
  }
}
