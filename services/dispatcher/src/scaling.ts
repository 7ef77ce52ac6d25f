import { z } from "zod";
import { creditSchema } from "@rs-agent/shared/bus/wire.ts";
import { taskKindSchema, type TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { DueMail, WaitTask } from "@rs-agent/shared/store/mails.ts";
import { grantFactor } from "@rs-agent/shared/worker/credit-split.ts";

const kindLoadSchema = z.object({
  arrivalsPerSecond: z.number(),
  completionsPerSecond: z.number(),
  serviceMs: z.number().nullish(),
});

/** What a dispatcher reports about itself and the others add up. */
export const dispatcherLoadSchema = z.object({
  load: z.object({
    plannedPerSecond: z.number(),
    kinds: z.partialRecord(taskKindSchema, kindLoadSchema),
  }),
  /** Mails in its memory that no worker has had room for. */
  waiting: z.partialRecord(taskKindSchema, z.number()),
  workers: z.array(z.object({ id: z.string(), kind: taskKindSchema, grant: creditSchema })),
});
export type DispatcherLoad = z.output<typeof dispatcherLoadSchema>;

/** How much there is to do of one kind, in the whole system, and who is wanted for it. */
export interface KindDemand {
  wanted: number;
  /** Due mails, in the database and in dispatchers' memory. */
  waiting: number;
  arrivalsPerSecond: number;
  /** Undefined: no worker has answered yet. */
  serviceMs: number | undefined;
  /** Tasks that one worker works on at once; undefined: none has granted credit yet. */
  atOnce: number | undefined;
}

export type Demand = Record<TaskKind, KindDemand>;

export interface DemandInput {
  /** One of each dispatcher. */
  dispatchers: readonly DispatcherLoad[];
  due: Pick<Record<WaitTask, DueMail>, TaskKind | "plan">;
  kinds: readonly TaskKind[];
  isPaused: (kind: TaskKind) => boolean;
  clearMs: number;
  /** What was known before: if nobody works just now, it is how work was. */
  before: Demand | undefined;
}

/** Adds up what all dispatchers have seen. */
export function demandOf(input: DemandInput): Demand {
  const entries = input.kinds.map((kind) => [kind, kindDemand(input, kind)]);
  return Object.fromEntries(entries) as Demand;
}

function kindDemand(input: DemandInput, kind: TaskKind): KindDemand {
  const { dispatchers, due, before, clearMs } = input;
  const loads = dispatchers.flatMap(({ load }) => load.kinds[kind] ?? []);
  const arrivalsPerSecond = sum(loads.map((each) => each.arrivalsPerSecond));
  const inMemory = sum(dispatchers.map(({ waiting }) => waiting[kind] ?? 0));
  const planned = sum(dispatchers.map(({ load }) => load.plannedPerSecond));
  // Of the mail without a plan, the same part as of the mail that got one will need this.
  const part = planned === 0 ? 0 : Math.min(1, arrivalsPerSecond / planned);
  const waiting = (due[kind]?.count ?? 0) + inMemory + Math.round(due.plan.count * part);
  const credits = creditsOf(dispatchers, kind);
  const seen = {
    waiting,
    arrivalsPerSecond,
    serviceMs: serviceOf(loads) ?? before?.[kind]?.serviceMs,
    atOnce:
      credits.length === 0 ? before?.[kind]?.atOnce : sum(credits) / credits.length / grantFactor,
  };
  const toClear = input.isPaused(kind) ? 0 : waiting;
  return { ...seen, wanted: workersWanted({ ...seen, waiting: toClear }, credits.length, clearMs) };
}

/**
 * (arrivals per second + waiting ÷ seconds to clear it) × service time ÷ tasks at once, rounded up;
 * docs/metrics.md. As long as nothing is known of the work, those who are there, or one to begin.
 */
export function workersWanted(
  { arrivalsPerSecond, waiting, serviceMs, atOnce }: Omit<KindDemand, "wanted">,
  there: number,
  clearMs: number,
): number {
  const perSecond = arrivalsPerSecond + waiting / (clearMs / 1_000);
  if (perSecond === 0) return 0;
  if (serviceMs === undefined || atOnce === undefined) return Math.max(1, there);
  const busy = (perSecond * serviceMs) / 1_000 / atOnce;
  // Not one more for what is an error of rounding only.
  return Math.max(1, Math.ceil(busy - 1e-9));
}

/** Each worker's grants to all its dispatchers together; those that grant nothing left out. */
function creditsOf(dispatchers: readonly DispatcherLoad[], kind: TaskKind): number[] {
  const granted = new Map<string, number>();
  for (const worker of dispatchers.flatMap(({ workers }) => workers)) {
    if (worker.kind !== kind) continue;
    granted.set(worker.id, (granted.get(worker.id) ?? 0) + worker.grant.tasks);
  }
  return [...granted.values()].filter((tasks) => tasks > 0);
}

/** Each dispatcher's mean by how much it has seen done; what is only remembered hardly counts. */
function serviceOf(loads: readonly z.output<typeof kindLoadSchema>[]): number | undefined {
  const known = loads.flatMap(({ serviceMs, completionsPerSecond }) =>
    serviceMs == null ? [] : [{ serviceMs, weight: completionsPerSecond + 1e-6 }],
  );
  if (known.length === 0) return undefined;
  const total = sum(known.map(({ serviceMs, weight }) => serviceMs * weight));
  return total / sum(known.map(({ weight }) => weight));
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((all, each) => all + each, 0);
}
