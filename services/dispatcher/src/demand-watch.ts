import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import type { DueMail, WaitTask } from "@rs-agent/shared/store/mails.ts";
import type { TaskKinds } from "./task-kinds.ts";
import { demandOf, dispatcherLoadSchema, type Demand, type DispatcherLoad } from "./scaling.ts";

/** What waits in the whole system and who is wanted, as of `at` (the database's clock). */
export interface SeenDemand {
  at: Date;
  due: Record<WaitTask, DueMail>;
  kinds: Demand;
}

export interface DemandWatchDeps {
  actorId: string;
  database: Pick<Database, "actors" | "clock"> & { mails: Pick<Database["mails"], "due"> };
  /** Of this dispatcher, now. */
  own: () => DispatcherLoad;
  isPaused: (kind: TaskKind) => boolean;
  kinds: TaskKinds;
  clearMs: number;
}

/** Mails that are counted for each task; more are this many. */
export const countedAtMost = 100_000;
/** All dispatchers together take at most this part of the database's time for it. */
const effort = 0.05;

/**
 * Looks now and then at what waits for each task. A caller gets what was seen last:
 * while the database is away no worker is given up, and none is asked for.
 */
export class DemandWatch {
  readonly #deps: DemandWatchDeps;
  #seen: SeenDemand | undefined;
  #notBeforeMs = -Infinity;

  constructor(deps: DemandWatchDeps) {
    this.#deps = deps;
  }

  get seen(): SeenDemand | undefined {
    return this.#seen;
  }

  /** Called by a timer. */
  async look(): Promise<void> {
    const { actorId, database, own, isPaused, clearMs, kinds } = this.#deps;
    const { clock } = database;
    const beganMs = clock.monotonicMs();
    if (beganMs < this.#notBeforeMs) return;
    const reports = await database.actors.all();
    const others = reports.flatMap(({ id, service, snapshot }) => {
      const parsed = dispatcherLoadSchema.safeParse(snapshot);
      return service === "dispatcher" && id !== actorId && parsed.success ? [parsed.data] : [];
    });
    const dispatchers = [own(), ...others];
    const at = clock.now();
    const due = await database.mails.due(countedAtMost, kinds.own);
    const tookMs = clock.monotonicMs() - beganMs;
    this.#notBeforeMs = beganMs + (tookMs * dispatchers.length) / effort;
    const before = this.#seen?.kinds;
    const demand = demandOf({ dispatchers, due, kinds: kinds.all, isPaused, clearMs, before });
    this.#seen = { at, due, kinds: demand };
  }
}
