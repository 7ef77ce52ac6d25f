import type { WorkerPool } from "@rs-agent/shared/bus/worker-pool.ts";
import { kindOf, lanesOf, type Lane } from "@rs-agent/shared/mail/lane.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { Backlogs } from "./backlogs.ts";
import type { Decision } from "./effects.ts";
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
  /** A mail that found no worker within this time goes back. */
  placeMs: number;
  backlogs: Pick<Backlogs, "begin">;
  /** False: our lease is over, and others may be at work on the mail. */
  isOurs: (held: HeldMail) => boolean;
  /** Sends the task; false: no credit after all. */
  send: (held: HeldMail, kind: TaskKind) => boolean;
  isPaused: (kind: TaskKind) => boolean;
}

/**
 * Deals held mails out to workers as their credit allows, oldest first (I7). What has to be read first, or
 * has waited too long, comes back as decisions.
 */
export interface Placement {
  enqueue(held: HeldMail, lane: Lane): Decision[];
  /** Its bytes are there, or there is no room for them now. */
  loaded(held: HeldMail, lane: Lane, isThere: boolean): Decision[];
  /** It could not be read. */
  remove(held: HeldMail, lane: Lane): void;
  /** Credit may have grown. */
  poke(kind: TaskKind): Decision[];
  /** Tasks of this lane that could be placed beyond those that wait already, and `ahead` to wait. */
  room(lane: Lane, ahead?: number): number;
  /** Gives back what has waited too long, and tries the others again. Called by a timer. */
  expire(): Decision[];
  /** How many wait for each kind. */
  waiting(kind: TaskKind): number;
}

type Queue = Map<HeldMail, Waiting>;

export function createPlacement(deps: PlacementDeps): Placement {
  const queues = new Map<Lane, Queue>();
  const queueOf = (lane: Lane) => ofLane(queues, lane);
  /** Those of a queue that are suspects. */
  const suspects = new Map<Lane, Queue>();
  const suspectsOf = (lane: Lane) => ofLane(suspects, lane);
  const remove = (held: HeldMail, lane: Lane) => {
    suspectsOf(lane).delete(held);
    queueOf(lane).delete(held);
  };
  const creditOf = (lane: Lane) => (deps.isPaused(kindOf(lane)) ? 0 : deps.pool.free(lane).tasks);

  /** Whether it waits no longer; if it must be read first, that is decided. */
  const place = (lane: Lane, entry: Waiting, decided: Decision[]): boolean => {
    const { held } = entry;
    const isReadable = held.raw !== undefined || held.spoolPath !== undefined;
    if (!deps.isOurs(held) || (isReadable && deps.send(held, kindOf(lane)))) {
      remove(held, lane);
      return true;
    }
    if (isReadable || entry.loading) return false;
    entry.loading = true;
    decided.push({ held, effects: [{ kind: "load", lane }] });
    return false;
  };

  /** One that is not placed keeps a worker for itself; the next one would keep the same. */
  const pokeSuspects = (lane: Lane, decided: Decision[]) => {
    if (deps.isPaused(kindOf(lane))) return;
    for (const entry of suspectsOf(lane).values()) if (!place(lane, entry, decided)) return;
  };
  const pokeLane = (lane: Lane): Decision[] => {
    const decided: Decision[] = [];
    if (queueOf(lane).size === 0) return decided;
    pokeSuspects(lane, decided);
    let credit = creditOf(lane);
    for (const entry of queueOf(lane).values()) {
      if (credit <= 0) break;
      if (entry.isSuspect) continue;
      place(lane, entry, decided);
      credit -= 1;
    }
    return decided;
  };
  /** The one that has waited longest has the first of a worker that serves several lanes. */
  const poke = (kind: TaskKind) => {
    const waiting = lanesOf(kind).filter((lane) => queueOf(lane).size > 0);
    if (waiting.length > 1) waiting.sort((a, b) => headOf(a) - headOf(b));
    return waiting.flatMap(pokeLane);
  };
  const headOf = (lane: Lane) => {
    const [first] = queueOf(lane).values();
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
      queueOf(lane).set(held, entry);
      if (isSuspect) suspectsOf(lane).set(held, entry);
      return pokeLane(lane);
    },
    loaded(held, lane, isThere) {
      const entry = queueOf(lane).get(held);
      if (entry !== undefined) entry.loading = false;
      return isThere ? poke(kindOf(lane)) : [];
    },
    remove,
    poke,
    room: (lane, ahead = 0) =>
      Math.max(0, creditOf(lane) + ahead - queueOf(lane).size - taken(lane)),
    expire() {
      const before = deps.monotonicMs() - deps.placeMs;
      return [...queues.keys()].flatMap((lane) => {
        const late = [...queueOf(lane).values()].filter(({ sinceMs }) => sinceMs <= before);
        for (const { held } of late) remove(held, lane);
        const live = late.filter(({ held }) => !held.over);
        if (live.length > 0) deps.backlogs.begin(lane);
        const back = { kind: "give back", step: kindOf(lane) } as const;
        return [...live.map(({ held }) => ({ held, effects: [back] })), ...pokeLane(lane)];
      });
    },
    waiting: (kind) => lanesOf(kind).reduce((sum, lane) => sum + queueOf(lane).size, 0),
  };
}

function ofLane(queues: Map<Lane, Queue>, lane: Lane): Queue {
  const known = queues.get(lane) ?? new Map<HeldMail, Waiting>();
  queues.set(lane, known);
  return known;
}

/** Two engines have no worker in common. */
function overlap(a: Lane, b: Lane): boolean {
  return a === kindOf(a) || b === kindOf(b);
}
