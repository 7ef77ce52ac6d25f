import type { SeenRecord } from "../database.ts";
import { Latencies, type Latency } from "./latency.ts";

/** What one step made the mails wait, and how long it worked on them. */
export interface StepTimes {
  step: string;
  wait: Latency;
  work: Latency;
}

/** In the order in which a mail takes them. */
const steps = ["virus", "spam", "enrich", "relay"] as const;

/** Adds up the times that the records hold, by step. */
export class Steps {
  readonly #times = new Map(
    steps.map((step) => [step, { wait: new Latencies(), work: new Latencies() }]),
  );

  add({ timings }: Pick<SeenRecord, "timings">): void {
    for (const step of steps) {
      const time = timings?.[step];
      if (time === undefined) continue;
      this.#times.get(step)?.wait.add(time.queueMs);
      this.#times.get(step)?.work.add(time.workMs);
    }
  }

  /** Steps that no mail took are left out. */
  read(): StepTimes[] {
    return [...this.#times]
      .filter(([, { work }]) => work.count > 0)
      .map(([step, { wait, work }]) => ({ step, wait: wait.read(), work: work.read() }));
  }
}
