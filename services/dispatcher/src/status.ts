import type { WorkerPool, WorkerSnapshot } from "@rs-agent/shared/bus/worker-pool.ts";
import { taskKinds, type TaskKind } from "@rs-agent/shared/mail/verdict.ts";
import type { Desk } from "./desk.ts";

/** What a dispatcher tells about itself for `rs-agent status`. */
export interface DispatcherStatus {
  heldMails: number;
  heldBytes: number;
  /** Held mails that wait for credit. */
  waiting: Partial<Record<TaskKind, number>>;
  workers: WorkerSnapshot[];
}

export function describe(pool: WorkerPool, desk: Desk): DispatcherStatus {
  return {
    heldMails: desk.held.size,
    heldBytes: desk.held.bytes,
    waiting: Object.fromEntries(taskKinds.map((kind) => [kind, desk.placement.waiting(kind)])),
    workers: pool.workers(),
  };
}
