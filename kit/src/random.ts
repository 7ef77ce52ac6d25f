import { createHash } from "node:crypto";
import { xoroshiro128plusFromState } from "pure-rand/generator/xoroshiro128plus";

/** Numbers determined by a seed: the same seed and subject give the same ones, on every machine. */
export interface Random {
  /** At least 0 and below 1. */
  next(): number;
  /** A whole number from `low` to `high`, both included. */
  between(low: number, high: number): number;
  /** True with this probability. */
  chance(probability: number): boolean;
  pick<T>(list: readonly [T, ...T[]]): T;
  pick<T>(list: readonly T[]): T | undefined;
  shuffled<T>(list: readonly T[]): T[];
}

/**
 * Draws at least 0 and below 1 from a separate generator for each subject, so that what one part of
 * a run draws does not change what another one gets. The state is the SHA-256 of seed and subject.
 */
export function drawsOf(seed: number, ...subject: readonly (string | number)[]): () => number {
  const digest = createHash("sha256")
    .update([seed, ...subject].join("\0"))
    .digest();
  const generator = xoroshiro128plusFromState([0, 4, 8, 12].map((at) => digest.readInt32LE(at)));
  return () => (generator.next() >>> 0) / 2 ** 32;
}

export function randomOf(seed: number, ...subject: readonly (string | number)[]): Random {
  const next = drawsOf(seed, ...subject);
  const between = (low: number, high: number) => low + Math.floor(next() * (high - low + 1));
  return {
    next,
    between,
    chance: (probability) => next() < probability,
    pick: <T>(list: readonly T[]) => list[between(0, list.length - 1)] as T,
    shuffled: (list) => {
      const shuffled = [...list];
      for (let at = shuffled.length - 1; at > 0; at -= 1) {
        const other = between(0, at);
        [shuffled[at], shuffled[other]] = [shuffled[other] as never, shuffled[at] as never];
      }
      return shuffled;
    },
  };
}

/**
 * `count` places dealt out by weight: each name gets its share, rounded so that the sum is right,
 * and none is left out while another has two. In the order of the names.
 */
export function dealt<T extends string>(weights: Readonly<Record<T, number>>, count: number): T[] {
  const names = Object.keys(weights) as T[];
  const total = names.reduce((sum, name) => sum + weights[name], 0);
  const exact = names.map((name) => (weights[name] / total) * count);
  const places = exact.map(Math.floor);
  const remainder = (at: number) => (exact[at] ?? 0) % 1;
  const missing = count - places.reduce((sum, each) => sum + each, 0);
  const byRemainder = [...names.keys()].sort((one, other) => remainder(other) - remainder(one));
  for (const at of byRemainder.slice(0, missing)) places[at] = (places[at] ?? 0) + 1;
  for (let at = places.indexOf(0); at >= 0; at = places.indexOf(0)) {
    const most = places.indexOf(Math.max(...places));
    if ((places[most] ?? 0) < 2) break;
    places[most] = (places[most] ?? 0) - 1;
    places[at] = 1;
  }
  return names.flatMap((name, at) => Array.from({ length: places[at] ?? 0 }, () => name));
}
