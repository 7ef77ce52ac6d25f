import { collectDefaultMetrics, Counter, Gauge, Histogram, Registry } from "prom-client";

/** What a metric is, for `/metrics` and for docs/metrics.md. */
export interface MetricDefinition<L extends string = string> {
  /** With its unit; a counter ends in `_total`. */
  name: string;
  help: string;
  /** Each has few values, known in advance: no ids, addresses, tenants or routes. */
  labels?: readonly L[];
}

export type MetricType = "counter" | "gauge" | "histogram";
export type Labels<L extends string> = Readonly<Record<L, string>>;
/** A value that is known elsewhere, with its labels. */
export type Sample<L extends string> = readonly [value: number, labels: Labels<L>];

/** Counts something as it happens. */
export interface Count<L extends string> {
  add(labels: Labels<L>, by?: number): void;
}

/** The metrics of one service, as Prometheus reads them. Several services may live in one process. */
export class Metrics {
  readonly #registry = new Registry();
  readonly #defined: (Required<MetricDefinition> & { type: MetricType })[] = [];
  #text: Promise<string> | undefined;

  /** Everything that this service tells about itself, besides the metrics of its process. */
  get defined(): readonly (Required<MetricDefinition> & { type: MetricType })[] {
    return this.#defined;
  }

  /** The `known` series exist, as 0, before anything is counted. */
  counter<L extends string>(
    definition: MetricDefinition<L>,
    known: readonly Labels<L>[] = [],
  ): Count<L> {
    const counter = new Counter<L>(this.#define("counter", definition));
    for (const labels of known) counter.inc(labels, 0);
    return { add: (labels, by = 1) => counter.inc(labels, by) };
  }

  /** Observes how long things take, in seconds. */
  histogram<L extends string>(
    definition: MetricDefinition<L>,
    buckets: readonly number[],
  ): { observe(labels: Labels<L>, seconds: number): void } {
    const config = { ...this.#define("histogram", definition), buckets: [...buckets] };
    const histogram = new Histogram<L>(config);
    return { observe: (labels, seconds) => histogram.observe(labels, seconds) };
  }

  /** A gauge that is read on each scrape: `read` asks nobody, it returns what is known. */
  gauge<L extends string = never>(
    definition: MetricDefinition<L>,
    read: () => Iterable<Sample<L>>,
  ): void {
    new Gauge<L>({
      ...this.#define("gauge", definition),
      collect() {
        this.reset();
        for (const [value, labels] of read()) this.set(labels, value);
      },
    });
  }

  /** A counter that is counted elsewhere and read on each scrape. */
  counted<L extends string = never>(
    definition: MetricDefinition<L>,
    read: () => Iterable<Sample<L>>,
  ): void {
    new Counter<L>({
      ...this.#define("counter", definition),
      collect() {
        this.reset();
        for (const [value, labels] of read()) this.inc(labels, value);
      },
    });
  }

  /** The process itself: CPU, memory, event-loop lag, garbage collection. Once per process. */
  addProcess(): void {
    // Finer, the lag alone would wake an idle process a hundred times a second.
    collectDefaultMetrics({ register: this.#registry, eventLoopMonitoringPrecision: 100 });
  }

  /** In Prometheus' text format. Requests that come while it is being made share the result. */
  text(): Promise<string> {
    this.#text ??= this.#registry.metrics().finally(() => {
      this.#text = undefined;
    });
    return this.#text;
  }

  get contentType(): string {
    return this.#registry.contentType;
  }

  #define<L extends string>(type: MetricType, definition: MetricDefinition<L>) {
    const { name, help, labels = [] } = definition;
    this.#defined.push({ name, help, labels, type });
    return { name, help, labelNames: [...labels], registers: [this.#registry] };
  }
}
