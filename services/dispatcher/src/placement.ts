import type { WorkerPool } from "@rs-agent/shared/bus/worker-pool.ts";
import { kindOf, lanesOf, type Lane } from "@rs-agent/shared/mail/lane.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { HeldMail } from "./held-mail.ts";
import { mustBeAlone } from "./results.ts";

/** One held mail that waits for a worker's credit. */
interface Waiting {
  readonly held: HeldMail;
  /** It goes to a worker that has nothing else, and needs no credit beside others. */
  readonly isSuspect: boolean;
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
  giveBack: (held: HeldMail, lane: Lane) => void;
  onError: (held: HeldMail, error: unknown) => void;
  isPaused: (kind: TaskKind) => boolean;
}

/** Deals held mails out to workers as their credit allows, oldest first (I7). */
export interface Placement {
  enqueue(held: HeldMail, lane: Lane): void;
  /** Credit may have grown. */
  poke(kind: TaskKind): void;
  /** Tasks of this lane that could be placed beyond those that wait already, and `ahead` to wait. */
  room(lane: Lane, ahead?: number): number;
  /** Gives back what has waited too long, and tries the others again. Called by a timer. */
  expire(): void;
  /** How many wait for each kind. */
  waiting(kind: TaskKind): number;
}

export function createPlacement(deps: PlacementDeps): Placement {
  const queues = new Map<Lane, Set<Waiting>>();
  const queueOf = (lane: Lane) => setOf(queues, lane);
  /** Those of a queue that are suspects. */
  const suspects = new Map<Lane, Set<Waiting>>();
  const suspectsOf = (lane: Lane) => setOf(suspects, lane);
  const remove = (lane: Lane, entry: Waiting) => {
    suspectsOf(lane).delete(entry);
    return queueOf(lane).delete(entry);
  };
  const creditOf = (lane: Lane) => (deps.isPaused(kindOf(lane)) ? 0 : deps.pool.free(lane).tasks);

  const place = (lane: Lane, entry: Waiting): boolean => {
    const kind = kindOf(lane);
    if (!deps.isOurs(entry.held)) return remove(lane, entry);
    if (entry.held.raw !== undefined || entry.held.spoolPath !== undefined) {
      if (deps.send(entry.held, kind)) return remove(lane, entry);
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
        remove(lane, entry);
        deps.onError(entry.held, error);
      },
    );
    return false;
  };

  /** One that is not placed keeps a worker for itself; the next one would keep the same. */
  const pokeSuspects = (lane: Lane) => {
    if (deps.isPaused(kindOf(lane))) return;
    for (const entry of suspectsOf(lane)) if (!place(lane, entry)) return;
  };
  const pokeLane = (lane: Lane) => {
    if (queueOf(lane).size === 0) return;
    pokeSuspects(lane);
    let credit = creditOf(lane);
    for (const entry of queueOf(lane)) {
      if (credit <= 0) return;
      if (entry.isSuspect) continue;
      place(lane, entry);
      credit -= 1;
    }
  };
  /** The one that has waited longest has the first of a worker that serves several lanes. */
  const poke = (kind: TaskKind) => {
    const waiting = lanesOf(kind).filter((lane) => queueOf(lane).size > 0);
    if (waiting.length > 1) waiting.sort((a, b) => headOf(a) - headOf(b));
    for (const lane of waiting) pokeLane(lane);
  };
  const headOf = (lane: Lane) => {
    const [first] = queueOf(lane);
    return first?.sinceMs ?? Infinity;
  };
  /** What of a lane's credit others that wait for the same workers will take. */
  const taken = (lane: Lane) => {
    const others = lanesOf(kindOf(lane)).filter((other) => other !== lane && overlap(lane, other));
    return others.reduce((sum, other) => {
      const queued = queueOf(other).size;
      return queued === 0 ? sum : sum + Math.min(queued, creditOf(other), creditOf(lane));
    }, 0);
  };

  return {
    enqueue(held, lane) {
      const isSuspect = mustBeAlone(held.mail);
      const entry = { held, isSuspect, sinceMs: deps.monotonicMs(), loading: false };
      queueOf(lane).add(entry);
      if (isSuspect) suspectsOf(lane).add(entry);
      pokeLane(lane);
    },
    poke,
    room: (lane, ahead = 0) =>
      Math.max(0, creditOf(lane) + ahead - queueOf(lane).size - taken(lane)),
    expire() {
      const before = deps.monotonicMs() - deps.placeMs;
      for (const lane of queues.keys()) {
        for (const entry of queueOf(lane)) {
          if (entry.sinceMs > before) break;
          remove(lane, entry);
          if (!entry.held.over) deps.giveBack(entry.held, lane);
        }
        pokeLane(lane);
      }
    },
    waiting: (kind) => lanesOf(kind).reduce((sum, lane) => sum + queueOf(lane).size, 0),
  };
}

function setOf(sets: Map<Lane, Set<Waiting>>, lane: Lane): Set<Waiting> {
  const known = sets.get(lane) ?? new Set<Waiting>();
  sets.set(lane, known);
  return known;
}

/** Two engines have no worker in common. */
function overlap(a: Lane, b: Lane): boolean {
  return a === kindOf(a) || b === kindOf(b);
}
