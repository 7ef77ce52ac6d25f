import type { LostReason, LostTask, TaskResult } from "@rs-agent/shared/bus/worker-pool.ts";
import type { Count, Metrics } from "@rs-agent/shared/health/metrics.ts";
import type { MailState } from "@rs-agent/shared/life/states.ts";
import { builtInNames } from "@rs-agent/shared/checks/built-in-checks.ts";
import { builtInTasks, type CheckKind, type TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { LoadMeter } from "./load-meter.ts";

/** Seconds: a clamd takes a few milliseconds, a spamd some, a huge archive minutes. */
const serviceBuckets = [
  0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 180,
];
const ofKinds = builtInTasks.map((kind) => ({ kind }));

/** What a dispatcher does, counted as it happens. */
export class Activity {
  readonly #meter: LoadMeter;
  readonly #claimed: Count<"task">;
  readonly #finished: Count<"state">;
  readonly #arrived: Count<"kind">;
  readonly #tasks: Count<"kind" | "result">;
  readonly #shared: Count<"kind">;
  readonly #strikes: Count<"kind">;
  readonly #gone: Count<"kind" | "reason">;
  readonly #service: ReturnType<Metrics["histogram"]>;

  constructor(metrics: Metrics, meter: LoadMeter) {
    this.#meter = meter;
    this.#claimed = metrics.counter({
      name: "rs_agent_mails_claimed_total",
      help: "Mails claimed from the database, by the task that they waited for",
      labels: ["task"],
    });
    this.#finished = metrics.counter({
      name: "rs_agent_mails_finished_total",
      help: "Mails written and let go, by their state then; returned: back into the queue",
      labels: ["state"],
    });
    this.#arrived = metrics.counter(
      {
        name: "rs_agent_task_arrivals_total",
        help: "Mails that came to need a task of this kind",
        labels: ["kind"],
      },
      ofKinds,
    );
    this.#tasks = metrics.counter({
      name: "rs_agent_tasks_total",
      help: "Tasks that came back, by what the worker found or why it was lost",
      labels: ["kind", "result"],
    });
    this.#service = metrics.histogram(
      {
        name: "rs_agent_task_service_seconds",
        help: "Time that a worker and its engine worked on a task",
        labels: ["kind"],
      },
      serviceBuckets,
    );
    this.#shared = metrics.counter(
      {
        name: "rs_agent_checks_shared_total",
        help: "Checks that were not made, because a part of the same split mail has the verdict",
        labels: ["kind"],
      },
      builtInNames.map((kind) => ({ kind })),
    );
    this.#strikes = metrics.counter(
      {
        name: "rs_agent_strikes_total",
        help: "Deaths and time-outs of workers and engines over a mail",
        labels: ["kind"],
      },
      ofKinds,
    );
    this.#gone = metrics.counter({
      name: "rs_agent_workers_gone_total",
      help: "Sessions with workers that ended; bye is in order, anything else is a loss",
      labels: ["kind", "reason"],
    });
  }

  onClaimed(task: string, mails: number): void {
    if (mails === 0) return;
    this.#claimed.add({ task }, mails);
    if (task === "plan") this.#meter.onPlanned(mails);
  }

  onFinished(state: MailState): void {
    const isBack = state === "incoming" || state === "processing";
    this.#finished.add({ state: isBack ? "returned" : state });
  }

  onArrived(kind: TaskKind): void {
    this.#arrived.add({ kind });
    this.#meter.onArrived(kind);
  }

  onResult({ kind, head }: TaskResult): void {
    const { output, workMs } = head;
    this.#tasks.add({ kind, result: output.kind });
    this.#service.observe({ kind }, workMs / 1_000);
    // An engine that is away answers immediately: that is no time of service.
    if (output.kind === "unchecked" && quickReasons.has(output.reason)) return;
    this.#meter.onDone(kind, workMs);
  }

  onLost({ kind, reason }: LostTask): void {
    this.#tasks.add({ kind, result: `lost-${reason}` });
  }

  onShared(kind: CheckKind): void {
    this.#shared.add({ kind });
  }

  onStrikes(kind: TaskKind, strikes: number): void {
    this.#strikes.add({ kind }, strikes);
  }

  onWorkerGone(kind: TaskKind, reason: LostReason): void {
    this.#gone.add({ kind, reason });
  }
}

const quickReasons: ReadonlySet<string> = new Set(["engine-away", "engine-error", "busy"]);
