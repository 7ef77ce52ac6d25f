import type { WorkerPool, WorkerSnapshot } from "@rs-agent/shared/bus/worker-pool.ts";
import { serves, type Lane } from "@rs-agent/shared/mail/lane.ts";

/** Workers of this lane that can do its work now. */
export function ableFor(pool: Pick<WorkerPool, "workers">, lane: Lane): WorkerSnapshot[] {
  return pool
    .workers()
    .filter((each) => serves(each, lane) && each.state === "open" && each.unable === undefined);
}
