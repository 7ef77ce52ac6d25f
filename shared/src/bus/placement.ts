import type { Credit } from "./wire.ts";

/** Frames above this may be unacknowledged one at a time for each mailbox. */
export const bigFrameBytes = 1024 * 1024;

/** What placement looks at in a worker's session. */
export interface Placeable {
  /** Open, heard of recently, not leaving. */
  takesTasks: boolean;
  grant: Credit;
  outstanding: Credit;
  /** A frame above `bigFrameBytes` is on its way and not yet seen by the worker. */
  bigFrameOut: boolean;
  /** A task that tolerates no other is out there. */
  aloneOut: boolean;
  /** When it got its last task, in monotonic milliseconds; -Infinity: none yet. */
  placedAtMs: number;
  /** Such a task waits for this worker: it gets nothing else. */
  kept: boolean;
  /** No other dispatcher's task is there, or can come. */
  isSole: boolean;
  spools: readonly string[];
}

export interface Wish {
  /** Bytes that travel on the bus: 0 in disk mode. */
  bytes: number;
  spoolId: string | undefined;
  /** Nothing else may be at the worker: what kills on its way in would have killed this too. */
  alone: boolean;
}

/** What a worker still takes now; never below zero. */
export function freeCredit(worker: Placeable): Credit {
  if (!worker.takesTasks || worker.aloneOut || worker.kept) return { tasks: 0, bytes: 0 };
  return {
    tasks: Math.max(0, worker.grant.tasks - worker.outstanding.tasks),
    bytes: Math.max(0, worker.grant.bytes - worker.outstanding.bytes),
  };
}

/** Whether a worker may get this task now. An idle one takes a task of any size. */
export function fits(worker: Placeable, wish: Wish): boolean {
  const idle = worker.outstanding.tasks === 0;
  if (!sees(worker, wish)) return false;
  if (wish.alone) return idle && worker.isSole && isOpen(worker);
  const free = freeCredit(worker);
  if (free.tasks < 1) return false;
  if (wish.bytes > bigFrameBytes && worker.bigFrameOut) return false;
  return idle || wish.bytes <= free.bytes;
}

/**
 * The worker with the most free credit (tasks first, then bytes) among those that it fits; of equal
 * ones the one that has waited longest, so that all get work even while there is little.
 */
export function chooseWorker<W extends Placeable>(workers: Iterable<W>, wish: Wish): W | undefined {
  let best: W | undefined;
  let bestFree: Credit = { tasks: 0, bytes: 0 };
  for (const worker of workers) {
    if (!fits(worker, wish)) continue;
    const free = freeCredit(worker);
    const more = free.tasks - bestFree.tasks || free.bytes - bestFree.bytes;
    const isBefore = more > 0 || (more === 0 && worker.placedAtMs < (best?.placedAtMs ?? Infinity));
    if (!isBefore) continue;
    best = worker;
    bestFree = free;
  }
  return best;
}

/** The worker to keep for a task that must be alone: one that is kept already, else the one with the least in hand. */
export function chooseToKeep<W extends Placeable>(workers: Iterable<W>, wish: Wish): W | undefined {
  let best: W | undefined;
  for (const worker of workers) {
    if (!isOpen(worker) || worker.aloneOut || !sees(worker, wish)) continue;
    if (worker.kept) return worker;
    if (best === undefined || worker.outstanding.tasks < best.outstanding.tasks) best = worker;
  }
  return best;
}

function isOpen({ takesTasks, grant }: Placeable): boolean {
  return takesTasks && grant.tasks > 0;
}

function sees({ spools }: Placeable, { spoolId }: Wish): boolean {
  return spoolId === undefined || spools.includes(spoolId);
}
