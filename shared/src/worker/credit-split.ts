import type { Credit } from "../bus/wire.ts";

/** Tasks granted for each one worked on at once, so that the engine never waits for the bus. */
export const grantFactor = 2;

/**
 * Splits what a worker takes among its dispatchers, in their order. One that has sent nothing lately
 * keeps a single task, enough to begin; the others share the rest evenly. Every share has
 * at least one task, so the sum may exceed a total that is smaller than the number of dispatchers.
 */
export function splitCredit(total: Credit, dispatchers: readonly { busy: boolean }[]): Credit[] {
  if (total.tasks === 0) return dispatchers.map(() => ({ tasks: 0, bytes: 0 }));
  const anyBusy = dispatchers.some((dispatcher) => dispatcher.busy);
  const sharing = dispatchers.filter((dispatcher) => dispatcher.busy || !anyBusy).length;
  const toShare = total.tasks - (dispatchers.length - sharing);
  let place = 0;
  const tasks = dispatchers.map(({ busy }) => {
    if (anyBusy && !busy) return 1;
    const remainder = place < toShare % sharing ? 1 : 0;
    place += 1;
    return Math.max(1, Math.floor(toShare / sharing) + remainder);
  });
  const sum = Math.max(
    1,
    tasks.reduce((all, some) => all + some, 0),
  );
  return tasks.map((some) => ({ tasks: some, bytes: Math.floor((total.bytes * some) / sum) }));
}
