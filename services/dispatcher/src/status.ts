import type { WorkerPool, WorkerSnapshot } from "@rs-agent/shared/bus/worker-pool.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { TimerCatches } from "@rs-agent/shared/store/timer-catches.ts";
import type { SeenDemand } from "./demand-watch.ts";
import type { Desk } from "./desk.ts";
import type { TaskKinds } from "./task-kinds.ts";
import type { Load } from "./load-meter.ts";

/** What a dispatcher tells about itself for `rs-agent status`. */
export interface DispatcherStatus {
  heldMails: number;
  heldBytes: number;
  /** Held mails that wait for credit. */
  waiting: Partial<Record<TaskKind, number>>;
  workers: WorkerSnapshot[];
  /** Mails since the start that the change stream did not report in time (I6). */
  timerOnlyMails: number;
  /** Its own part of what comes in and is done. */
  load: Load;
  /** Of the whole system, with all other dispatchers' parts. */
  demand: SeenDemand | undefined;
}

export interface StatusDeps {
  pool: WorkerPool;
  desk: Desk;
  catches: Pick<TimerCatches, "count">;
  meter: { load(): Load };
  demand: SeenDemand | undefined;
  kinds: TaskKinds;
}

export function describe({
  pool,
  desk,
  catches,
  meter,
  demand,
  kinds,
}: StatusDeps): DispatcherStatus {
  return {
    heldMails: desk.held.size,
    heldBytes: desk.held.bytes,
    waiting: Object.fromEntries(kinds.all.map((kind) => [kind, desk.waiting(kind)])),
    workers: pool.workers(),
    timerOnlyMails: catches.count,
    load: meter.load(),
    demand,
  };
}
