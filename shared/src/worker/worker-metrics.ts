import { showBus } from "../bus/bus-metrics.ts";
import type { DropCounts } from "../bus/drop-counter.ts";
import type { Count, Metrics } from "../health/metrics.ts";
import type { TaskKind } from "../checks/verdict.ts";

/** What a worker reports about itself when somebody looks. */
export interface WorkerFigures {
  /** The engine takes work. */
  isAble: boolean;
  /** Dispatchers with which a session is open. */
  sessions: number;
  /** Tasks in hand, started or not. */
  atWork: number;
  /** The most tasks worked on at the same time. */
  places: number;
  dropped: DropCounts;
  /** Peers that its mailbox refused. */
  refused: number;
}

/** Counts the tasks that a worker has answered, and shows its figures. */
export function createWorkerMetrics(
  metrics: Metrics,
  kind: TaskKind,
  figures: () => WorkerFigures,
): { answered: Count<"kind" | "result"> } {
  const one = (name: string, help: string, value: (seen: WorkerFigures) => number) =>
    metrics.gauge({ name, help, labels: ["kind"] }, () => [[value(figures()), { kind }]]);
  one("rs_agent_engine_able", "1 while the engine passes its canaries and takes work", (seen) =>
    Number(seen.isAble),
  );
  one("rs_agent_worker_sessions", "Dispatchers that this worker works for", (s) => s.sessions);
  one(
    "rs_agent_worker_tasks",
    "Tasks that this worker has in hand, started or not",
    (s) => s.atWork,
  );
  one(
    "rs_agent_worker_places",
    "Tasks that it works on at the same time, at most",
    (s) => s.places,
  );
  showBus(metrics, { dropped: () => figures().dropped, refused: () => figures().refused });
  return {
    answered: metrics.counter({
      name: "rs_agent_worker_answers_total",
      help: "Tasks that this worker has answered, by what it answered",
      labels: ["kind", "result"],
    }),
  };
}
