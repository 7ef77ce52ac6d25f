import type { WorkerPool } from "@rs-agent/shared/bus/worker-pool.ts";
import type { TaskKind } from "@rs-agent/shared/mail/verdict.ts";
import { taskKinds } from "@rs-agent/shared/mail/verdict.ts";
import type { HeldMail } from "./held-mail.ts";

/** One held mail that waits for a worker's credit. */
interface Waiting {
  readonly held: HeldMail;
  readonly sinceMs: number;
  loading: boolean;
}

export interface PlacementDeps {
  pool: Pick<WorkerPool, "free">;
  monotonicMs: () => number;
  /** A mail that found no worker within this time is handed to `giveBack`. */
  placeMs: number;
  /** False: our lease is over, and others may be at work on the mail. */
  isOurs: (held: HeldMail) => boolean;
  /** Makes the mail's bytes available; false: there is no room for them now. */
  load: (held: HeldMail) => Promise<boolean>;
  /** Sends the task; false: no credit after all. */
  send: (held: HeldMail, kind: TaskKind) => boolean;
  giveBack: (held: HeldMail, kind: TaskKind) => void;
  onError: (held: HeldMail, error: unknown) => void;
  isPaused: (kind: TaskKind) => boolean;
}

/** Deals held mails out to workers as their credit allows, oldest first (I7). */
export interface Placement {
  enqueue(held: HeldMail, kind: TaskKind): void;
  /** Credit may have grown. */
  poke(kind: TaskKind): void;
  /** Tasks of this kind that could be placed beyond those that wait already, and `ahead` to wait. */
  room(kind: TaskKind, ahead?: number): number;
  /** Gives back what has waited too long. Called by a timer. */
  expire(): void;
  /** How many wait for each kind. */
  waiting(kind: TaskKind): number;
}

export function createPlacement(deps: PlacementDeps): Placement {
  const queues = new Map<TaskKind, Set<Waiting>>(taskKinds.map((kind) => [kind, new Set()]));
  const queueOf = (kind: TaskKind) => queues.get(kind) ?? new Set<Waiting>();
  const creditOf = (kind: TaskKind) => (deps.isPaused(kind) ? 0 : deps.pool.free(kind).tasks);

  const place = (kind: TaskKind, entry: Waiting): boolean => {
    if (!deps.isOurs(entry.held)) return queueOf(kind).delete(entry);
    if (entry.held.raw !== undefined || entry.held.spoolPath !== undefined) {
      if (deps.send(entry.held, kind)) return queueOf(kind).delete(entry);
      return false;
    }
    if (entry.loading) return false;
    entry.loading = true;
    deps.load(entry.held).then(
      (loaded) => {
        entry.loading = false;
        if (loaded) poke(kind);
      },
      (error: unknown) => {
        queueOf(kind).delete(entry);
        deps.onError(entry.held, error);
      },
    );
    return false;
  };

  const poke = (kind: TaskKind) => {
    let credit = creditOf(kind);
    for (const entry of queueOf(kind)) {
      if (credit <= 0) return;
      place(kind, entry);
      credit -= 1;
    }
  };

  return {
    enqueue(held, kind) {
      queueOf(kind).add({ held, sinceMs: deps.monotonicMs(), loading: false });
      poke(kind);
    },
    poke,
    room: (kind, ahead = 0) => Math.max(0, creditOf(kind) + ahead - queueOf(kind).size),
    expire() {
      const before = deps.monotonicMs() - deps.placeMs;
      for (const kind of taskKinds) {
        for (const entry of queueOf(kind)) {
          if (entry.sinceMs > before) break;
          queueOf(kind).delete(entry);
          if (!entry.held.over) deps.giveBack(entry.held, kind);
        }
      }
    },
    waiting: (kind) => queueOf(kind).size,
  };
}
