import { builtInNames } from "@rs-agent/shared/checks/built-in-checks.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { SeenRecord } from "../database.ts";
import { Latencies, type Latency } from "./latency.ts";

/** How long mails waited for one step, and how long the step worked on them. */
export interface StepTimes {
  step: string;
  wait: Latency;
  work: Latency;
}

/** In the order in which a mail takes them; a policy's own checks come before the enricher. */
const builtIn: readonly Step[] = [...builtInNames, "enrich", "relay"];
type Step = TaskKind | "relay";

/** Adds up the times that the records hold, by step. */
export class Steps {
  readonly #times = new Map<Step, { wait: Latencies; work: Latencies }>();

  add({ timings = {} }: Pick<SeenRecord, "timings">): void {
    for (const step of Object.keys(timings) as Step[]) {
      const time = timings[step];
      if (time === undefined) continue;
      const times = this.#times.get(step) ?? { wait: new Latencies(), work: new Latencies() };
      this.#times.set(step, times);
      times.wait.add(time.queueMs);
      times.work.add(time.workMs);
    }
  }

  /** Steps that no mail took are left out. */
  read(): StepTimes[] {
    return [...this.#times]
      .sort(([a], [b]) => placeOf(a) - placeOf(b))
      .map(([step, { wait, work }]) => ({ step, wait: wait.read(), work: work.read() }));
  }
}

function placeOf(step: Step): number {
  const place = builtIn.indexOf(step);
  return place === -1 ? builtIn.indexOf("enrich") - 0.5 : place;
}
