import { build, type Histogram } from "hdr-histogram-js";

/** Percentiles of times, in milliseconds. */
export interface Latency {
  count: number;
  p50Ms: number;
  p95Ms: number;
  p99Ms: number;
  p999Ms: number;
  maxMs: number;
}

/** A bar of a histogram: how many took up to `toMs`, but longer than the previous bar. */
export interface Bar {
  toMs: number;
  count: number;
}

const mostMicroseconds = 86_400_000_000;
const barsPerDecade = 10;

/**
 * Three significant digits of every time from a microsecond to a day (HdrHistogram), in fixed
 * memory.
 */
export class Latencies {
  readonly #histogram: Histogram = build({
    lowestDiscernibleValue: 1,
    highestTrackableValue: mostMicroseconds,
    numberOfSignificantValueDigits: 3,
    bitBucketSize: 32,
    useWebAssembly: false,
  });
  readonly #bars = new Map<number, number>();

  get count(): number {
    return this.#histogram.totalCount;
  }

  add(ms: number): void {
    const microseconds = Math.min(mostMicroseconds, Math.max(1, Math.round(ms * 1_000)));
    this.#histogram.recordValue(microseconds);
    const bar = Math.floor(Math.log10(microseconds) * barsPerDecade);
    this.#bars.set(bar, (this.#bars.get(bar) ?? 0) + 1);
  }

  read(): Latency {
    const most = this.count === 0 ? 0 : this.#histogram.maxValue;
    // A percentile is the upper end of its bucket, which may be above everything that was seen.
    const at = (percentile: number) =>
      roundedMs(Math.min(most, this.#histogram.getValueAtPercentile(percentile)));
    return {
      count: this.count,
      p50Ms: at(50),
      p95Ms: at(95),
      p99Ms: at(99),
      p999Ms: at(99.9),
      maxMs: roundedMs(most),
    };
  }

  /** Bars that grow by a tenth of a decade, without gaps; none if nothing was counted. */
  bars(): Bar[] {
    if (this.count === 0) return [];
    const [first, last] = [Math.min(...this.#bars.keys()), Math.max(...this.#bars.keys())];
    return Array.from({ length: last - first + 1 }, (_, nth) => ({
      toMs: roundedMs(10 ** ((first + nth + 1) / barsPerDecade)),
      count: this.#bars.get(first + nth) ?? 0,
    }));
  }

  clear(): void {
    this.#histogram.reset();
    this.#bars.clear();
  }
}

/** Microseconds as milliseconds, to three digits. */
function roundedMs(microseconds: number): number {
  return microseconds === 0 ? 0 : Number((microseconds / 1_000).toPrecision(3));
}
