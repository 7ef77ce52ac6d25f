import type { WorkerPool, WorkerSnapshot } from "@rs-agent/shared/bus/worker-pool.ts";
import { taskKinds, type TaskKind } from "@rs-agent/shared/mail/verdict.ts";
import type { TimerCatches } from "@rs-agent/shared/store/timer-catches.ts";
import type { Desk } from "./desk.ts";

/** What a dispatcher tells about itself for `rs-agent status`. */
export interface DispatcherStatus {
  heldMails: number;
  heldBytes: number;
  /** Held mails that wait for credit. */
  waiting: Partial<Record<TaskKind, number>>;
  workers: WorkerSnapshot[];
  /** Mails since the start of which the change stream did not tell in time (I6). */
  timerOnlyMails: number;
}

export function describe(
  pool: WorkerPool,
  desk: Desk,
  catches: Pick<TimerCatches, "count">,
): DispatcherStatus {
  return {
    heldMails: desk.held.size,
    heldBytes: desk.held.bytes,
    waiting: Object.fromEntries(taskKinds.map((kind) => [kind, desk.placement.waiting(kind)])),
    workers: pool.workers(),
    timerOnlyMails: catches.count,
  };
}
