import type { TaskHead } from "../bus/wire.ts";
import type { Finding } from "../checks/verdict.ts";
import type { TaskHandler, TaskOutput } from "../worker/handler.ts";
import type { EnginePool, PoolAnswer, PoolAskOptions } from "./engine-pool.ts";

/** Of a task's deadline, what is left to the result's way back. */
const wayBackMs = 500;
/** An engine that says in this time how it is was not merely slow with a mail. */
const longestAccountMs = 10_000;

/** What a worker's handler leaves to its pool. */
export function handlerPart<Q, F>(
  pool: EnginePool<Q, F>,
): Pick<TaskHandler, "concurrency" | "whyNone" | "canary" | "close"> {
  return {
    concurrency: () => pool.grant(),
    whyNone: () => pool.reasons(),
    canary: (signal) => pool.canary(signal),
    close() {
      pool.close();
      return Promise.resolve();
    },
  };
}

/** How a pool is asked for a task, by its deadline; `timeoutMs` is the longest that an engine may take. */
export function askOptionsOf(
  { deadlineMs, alone }: Pick<TaskHead, "deadlineMs" | "alone">,
  timeoutMs: number,
): Omit<PoolAskOptions, "signal"> {
  const limitMs = Math.min(timeoutMs, Math.max(1, deadlineMs - wayBackMs));
  const accountMs = Math.min(longestAccountMs, deadlineMs - limitMs - wayBackMs);
  return { timeoutMs: limitMs, accountMs, suspect: alone === true };
}

/** A pool's answer as that of the task. */
export function outputOf<F extends Finding>(answer: PoolAnswer<F>): TaskOutput {
  const { finding, engine, blind = [], strikes } = answer;
  return {
    output: finding,
    ...(blind.length > 0 && { blind }),
    ...(engine !== undefined && { engine }),
    ...(strikes !== undefined && { strikes }),
  };
}
