/** Minimum, median and maximum of several rounds. */
export interface Spread {
  min: number;
  median: number;
  max: number;
}

export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (place: number) => sorted[place] ?? Number.NaN;
  const middle = (sorted.length - 1) / 2;
  return {
    min: at(0),
    median: (at(Math.floor(middle)) + at(Math.ceil(middle))) / 2,
    max: at(sorted.length - 1),
  };
}

/** `734 (690–786)`. */
export function spreadText({ min, median, max }: Spread, digits = 0): string {
  return `${median.toFixed(digits)} (${min.toFixed(digits)}–${max.toFixed(digits)})`;
}

/** The ends of the median's 95 % interval. */
export interface Interval {
  lower: number;
  upper: number;
}

const confidence = 0.95;

/**
 * The 95 % interval of the median by order statistics: the k-th smallest and the k-th largest
 * value, with the largest k for which the true median lies between them with a probability of 95 %
 * (binomial distribution with one half). It assumes nothing about the distribution of the values,
 * only that the rounds are independent. With 7 or 8 rounds these are the smallest and the largest
 * value, with 9 to 11 the second ones; below 6 rounds there is no interval. Undefined if the rounds
 * are too few.
 */
export function medianInterval(values: readonly number[]): Interval | undefined {
  const sorted = [...values].sort((a, b) => a - b);
  const outside = (1 - confidence) / 2;
  let place = -1;
  for (let k = 0, tail = 0; k < sorted.length / 2; k += 1) {
    tail += binomialHalf(sorted.length, k);
    if (tail > outside) break;
    place = k;
  }
  const lower = sorted[place];
  const upper = sorted[sorted.length - 1 - place];
  return lower === undefined || upper === undefined ? undefined : { lower, upper };
}

/** The chance of `k` heads in `n` throws. */
function binomialHalf(n: number, k: number): number {
  let chance = 0.5 ** n;
  for (let i = 1; i <= k; i += 1) chance *= (n - i + 1) / i;
  return chance;
}

/** What a figure must reach. */
export type AtLeast = { least: number };
export type Target = AtLeast | { most: number };

/** Whether a figure, with its interval, reaches its target. */
export interface Judgement<T extends Target = Target> {
  target: T;
  meets: boolean | "too few rounds";
}

/** A target is met if the end of the interval that is worse for us meets it. */
export function judge<T extends Target>(values: readonly number[], target: T): Judgement<T> {
  const interval = medianInterval(values);
  if (interval === undefined) return { target, meets: "too few rounds" };
  const { lower, upper } = interval;
  const meets = "least" in target ? lower >= target.least : upper <= target.most;
  return { target, meets };
}

/** `meets the target ≥ 5`, `misses the target ≥ 5`. */
export function judgementText({ target, meets }: Judgement): string {
  const text = "least" in target ? `≥ ${target.least}` : `≤ ${target.most}`;
  if (typeof meets === "string") return `target ${text}: ${meets} to say`;
  return `${meets ? "meets" : "misses"} the target ${text}`;
}
