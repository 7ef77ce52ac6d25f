import { drawsOf } from "@rs-agent/kit/random.ts";

/**
 * Everything that a schedule leaves to chance comes from one of these; streams of different names
 * do not disturb each other.
 */
export class Random {
  readonly #seed: number;
  readonly #name: string;
  /** In [0, 1). */
  readonly next: () => number;

  constructor(seed: number, name: string) {
    this.#seed = seed;
    this.#name = name;
    this.next = drawsOf(seed, name);
  }

  /** The stream of another subject; the same name gives the same stream again. */
  fork(name: string): Random {
    return new Random(this.#seed, `${this.#name}/${name}`);
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

  /** Mostly near `usual`, rarely far above it: for waits and latencies. */
  around(usual: number): number {
    const unit = this.next();
    return usual * (0.5 + unit + (unit > 0.97 ? 20 * this.next() : 0));
  }

  fill(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at++) bytes[at] = Math.floor(this.next() * 256);
  }
}
