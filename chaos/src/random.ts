import { createHash } from "node:crypto";

/** Numbers that a seed determines: the same seed and subject give the same ones, on every machine. */
export interface Random {
  /** At least 0 and below 1. */
  next(): number;
  /** A whole number of at least `low` and at the most `high`. */
  between(low: number, high: number): number;
  /** True with this probability. */
  chance(probability: number): boolean;
  pick<T>(list: readonly [T, ...T[]]): T;
  pick<T>(list: readonly T[]): T | undefined;
  shuffled<T>(list: readonly T[]): T[];
}

/**
 * A stream of its own for each subject, so that what one part of a run draws does not change what
 * another one gets (sfc32, seeded by SHA-256).
 */
export function randomOf(seed: number, ...subject: readonly (string | number)[]): Random {
  const digest = createHash("sha256")
    .update([seed, ...subject].join("\0"))
    .digest();
  let [a, b, c, d] = [0, 4, 8, 12].map((at) => digest.readInt32LE(at)) as [
    number,
    number,
    number,
    number,
  ];
  const next = () => {
    const sum = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return (sum >>> 0) / 2 ** 32;
  };
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
 * `count` places dealt out by weight: each name gets its share, rounded so that the sum is right and
 * nothing that has a weight is left out while there is room. In the order of the names.
 */
export function dealt<T extends string>(weights: Readonly<Record<T, number>>, count: number): T[] {
  const names = Object.keys(weights) as T[];
  const total = names.reduce((sum, name) => sum + weights[name], 0);
  const exact = names.map((name) => (weights[name] / total) * count);
  const places = exact.map(Math.floor);
  const byNeed = names
    .map((_, at) => at)
    .sort((one, other) => need(other) - need(one) || one - other);
  function need(at: number): number {
    // What has none yet goes before what is only cut short by rounding.
    return (places[at] === 0 ? 1 : 0) + (exact[at] ?? 0) - (places[at] ?? 0);
  }
  const missing = count - places.reduce((sum, each) => sum + each, 0);
  for (const at of byNeed.slice(0, missing)) places[at] = (places[at] ?? 0) + 1;
  return names.flatMap((name, at) => Array.from({ length: places[at] ?? 0 }, () => name));
}
