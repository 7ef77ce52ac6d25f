import type { WorkerPool } from "@rs-agent/shared/bus/worker-pool.ts";
import type { Metrics } from "@rs-agent/shared/health/metrics.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { TimerCatches } from "@rs-agent/shared/store/timer-catches.ts";
import type { DispatcherConfig } from "./config.ts";
import { DemandWatch } from "./demand-watch.ts";
import type { Desk } from "./desk.ts";
import { showDispatcher } from "./dispatcher-metrics.ts";
import type { LoadMeter } from "./load-meter.ts";
import type { TaskKinds } from "./task-kinds.ts";
import { describe, type DispatcherStatus } from "./status.ts";

export interface ObservationDeps {
  config: DispatcherConfig;
  database: Database;
  pool: WorkerPool;
  desk: Desk;
  catches: Pick<TimerCatches, "count">;
  meter: LoadMeter;
  metrics: Metrics;
  kinds: TaskKinds;
}

/** What this dispatcher knows about itself, and what it sees of the whole system. */
export interface Observation {
  status(): DispatcherStatus;
  /** Called by a timer: counts what waits. */
  look(): Promise<void>;
}

export function createObservation(deps: ObservationDeps): Observation {
  const { config, database, pool, desk, metrics, kinds } = deps;
  const status = (): DispatcherStatus => describe({ ...deps, demand: demand.seen });
  const demand: DemandWatch = new DemandWatch({
    actorId: config.ACTOR_ID,
    database,
    own: status,
    isPaused: (kind) => desk.isPaused(kind),
    kinds,
    clearMs: config.SCALE_CLEAR_MS,
  });
  showDispatcher(metrics, {
    status,
    demand: () => demand.seen,
    kinds,
    now: () => database.clock.now(),
    staleWrites: () => database.mails.staleWrites,
    newerRecords: () => database.mails.newerRecords,
    dropped: () => pool.dropped(),
    refused: () => pool.refused(),
  });
  return { status, look: () => demand.look() };
}
