import { Latencies } from "./latency.ts";

/** One second of a run: what happened in it, and how things stood at its end. */
export interface Second {
  /** Seconds since the beginning. */
  at: number;
  offered: number;
  accepted: number;
  delivered: number;
  /** Put off, refused, failed, unknown or never sent. */
  errors: number;
  /** Accepted, and not yet at their end. */
  inFlight: number;
  /** Waiting for a connection. */
  waiting: number;
  acceptP50Ms: number | null;
  acceptP99Ms: number | null;
  endP50Ms: number | null;
  endP99Ms: number | null;
}

type Counted = "offered" | "accepted" | "delivered" | "errors";

/** Counts events until a second is closed. */
export class Timeline {
  readonly seconds: Second[] = [];
  readonly #accept = new Latencies();
  readonly #end = new Latencies();
  #counts: Record<Counted, number> = noCounts();

  count(what: Counted, by = 1): void {
    this.#counts[what] += by;
  }

  accepted(ms: number): void {
    this.count("accepted");
    this.#accept.add(ms);
  }

  delivered(ms: number): void {
    this.count("delivered");
    this.#end.add(ms);
  }

  /** `now`: how things stand at this moment. */
  close(now: { inFlight: number; waiting: number }): Second {
    const second = {
      at: this.seconds.length + 1,
      ...this.#counts,
      ...now,
      ...percentiles("accept", this.#accept),
      ...percentiles("end", this.#end),
    } as Second;
    this.seconds.push(second);
    this.#counts = noCounts();
    this.#accept.clear();
    this.#end.clear();
    return second;
  }
}

function percentiles(name: "accept" | "end", latencies: Latencies): Record<string, number | null> {
  const { count, p50Ms, p99Ms } = latencies.read();
  const [p50, p99] = count === 0 ? [null, null] : [p50Ms, p99Ms];
  return { [`${name}P50Ms`]: p50, [`${name}P99Ms`]: p99 };
}

function noCounts(): Record<Counted, number> {
  return { offered: 0, accepted: 0, delivered: 0, errors: 0 };
}
