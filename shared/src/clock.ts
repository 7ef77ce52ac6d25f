import { performance } from "node:perf_hooks";

/** Time as a dependency. `now` is wall time; `monotonicMs` never jumps and is for deadlines. */
export interface Clock {
  now(): Date;
  monotonicMs(): number;
}

export const systemClock: Clock = {
  now: () => new Date(),
  monotonicMs: () => performance.now(),
};
