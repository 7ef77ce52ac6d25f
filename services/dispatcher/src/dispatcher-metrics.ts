import { showBus, type BusFigures } from "@rs-agent/shared/bus/bus-metrics.ts";
import type { WorkerSnapshot } from "@rs-agent/shared/bus/worker-pool.ts";
import type { Metrics, Sample } from "@rs-agent/shared/health/metrics.ts";
import type { TaskKinds } from "./task-kinds.ts";
import { showLeases } from "@rs-agent/shared/store/lease-metrics.ts";
import { waitTasks, type DueMail } from "@rs-agent/shared/store/mails.ts";
import type { SeenDemand } from "./demand-watch.ts";
import type { DispatcherStatus } from "./status.ts";

/** What is shown when somebody looks: all of it is in memory. */
export interface DispatcherFigures extends BusFigures {
  status: () => Pick<
    DispatcherStatus,
    "heldMails" | "heldBytes" | "waiting" | "workers" | "timerOnlyMails"
  >;
  demand: () => SeenDemand | undefined;
  kinds: TaskKinds;
  /** The database's time. */
  now: () => Date;
  staleWrites: () => number;
  newerRecords: () => number;
}

export function showDispatcher(metrics: Metrics, figures: DispatcherFigures): void {
  showDemand(metrics, figures);
  showWorkers(metrics, figures.kinds, () => figures.status().workers);
  showHeld(metrics, figures);
  showLeases(metrics, {
    heldMails: () => figures.status().heldMails,
    staleWrites: figures.staleWrites,
    newerRecords: figures.newerRecords,
  });
  metrics.counted(
    {
      name: "rs_agent_timer_only_mails_total",
      help: "Mails of which the change stream did not tell in time",
    },
    () => [[figures.status().timerOnlyMails, {}]],
  );
  showBus(metrics, figures);
}

/** Of the whole system: every dispatcher shows the same, so that `max` is right, and `sum` is not. */
function showDemand(metrics: Metrics, { demand, now, kinds }: DispatcherFigures): void {
  const byTask = function* (value: (due: DueMail) => number): Generator<Sample<"task">> {
    const seen = demand();
    if (seen === undefined) return;
    for (const task of waitTasks(kinds.own)) {
      const due = seen.due[task];
      if (due !== undefined) yield [value(due), { task }];
    }
  };
  metrics.gauge(
    {
      name: "rs_agent_waiting_mails",
      help: "Mails in the database that are due for a task and in nobody's hands",
      labels: ["task"],
    },
    () => byTask(({ count }) => count),
  );
  metrics.gauge(
    {
      name: "rs_agent_waiting_oldest_seconds",
      help: "For how long the oldest of them has been due; 0: none waits",
      labels: ["task"],
    },
    () => byTask(({ since }) => (since === undefined ? 0 : secondsSince(since, now()))),
  );
  metrics.gauge(
    {
      name: "rs_agent_waiting_counted_seconds",
      help: "How old these counts and workers wanted are",
    },
    () => {
      const seen = demand();
      return seen === undefined ? [] : [[secondsSince(seen.at, now()), {}]];
    },
  );
  metrics.gauge(
    {
      name: "rs_agent_workers_wanted",
      help: "Workers of this kind needed for the arrivals and the waiting mail",
      labels: ["kind"],
    },
    () => {
      const seen = demand();
      if (seen === undefined) return [];
      return kinds.all.map((kind): Sample<"kind"> => [seen.kinds[kind]?.wanted ?? 0, { kind }]);
    },
  );
}

function secondsSince(at: Date, now: Date): number {
  return Math.max(0, now.getTime() - at.getTime()) / 1_000;
}

const workerStates = ["able", "unable", "silent", "opening", "leaving"] as const;

function showWorkers(
  metrics: Metrics,
  kinds: TaskKinds,
  workers: () => readonly WorkerSnapshot[],
): void {
  const tasks = (name: string, help: string, value: (worker: WorkerSnapshot) => number) =>
    metrics.gauge({ name, help, labels: ["kind"] }, () =>
      kinds.all.map((kind): Sample<"kind"> => {
        const own = workers().filter((worker) => worker.kind === kind);
        return [own.reduce((sum, worker) => sum + value(worker), 0), { kind }];
      }),
    );
  tasks(
    "rs_agent_credit_granted_tasks",
    "Tasks that workers take from this dispatcher at the same time",
    ({ grant }) => grant.tasks,
  );
  tasks(
    "rs_agent_credit_busy_tasks",
    "Tasks of this dispatcher that are at workers",
    ({ outstanding }) => outstanding.tasks,
  );
  metrics.gauge(
    {
      name: "rs_agent_workers",
      help: "Workers that this dispatcher has a session with, by state",
      labels: ["kind", "state"],
    },
    () =>
      kinds.all.flatMap((kind) =>
        workerStates.map((state): Sample<"kind" | "state"> => {
          const own = workers().filter((each) => each.kind === kind && stateOf(each) === state);
          return [own.length, { kind, state }];
        }),
      ),
  );
}

function stateOf({ state, unable }: WorkerSnapshot): (typeof workerStates)[number] {
  if (state !== "open") return state;
  return unable === undefined ? "able" : "unable";
}

function showHeld(metrics: Metrics, { status, kinds }: DispatcherFigures): void {
  metrics.gauge({ name: "rs_agent_held_bytes", help: "Bytes of held mails in memory" }, () => [
    [status().heldBytes, {}],
  ]);
  metrics.gauge(
    {
      name: "rs_agent_placing_mails",
      help: "Mails in this dispatcher's memory that wait for a worker's credit",
      labels: ["kind"],
    },
    () => {
      const { waiting } = status();
      return kinds.all.map((kind): Sample<"kind"> => [waiting[kind] ?? 0, { kind }]);
    },
  );
}
