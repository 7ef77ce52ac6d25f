import type { HealthPart } from "../health/health-part.ts";
import type { WorkerHandle, WorkerState } from "./worker-handle.ts";

/** A worker's engine, as its canaries found it last, and its dispatchers. */
export function workerParts(worker: Pick<WorkerHandle, "state">): HealthPart[] {
  return [
    { name: "engine", whyNot: () => worker.state().unable },
    {
      name: "bus",
      whyNot: () => {
        const { dispatchers } = worker.state();
        if (dispatchers.some(isOpen)) return undefined;
        if (dispatchers.length === 0) return "BUS_DISPATCHERS has led to no dispatcher yet";
        return dispatchers.map(whyClosed).join("; ");
      },
      warnings: () => {
        const { dispatchers } = worker.state();
        if (!dispatchers.some(isOpen)) return [];
        return dispatchers.filter(({ mode }) => isAmiss(mode)).map(whyClosed);
      },
    },
  ];
}

type Link = WorkerState["dispatchers"][number];

function isOpen({ mode }: Link): boolean {
  return mode === "open" || mode === "leaving";
}

/** Not what has parted in order, or leads where another link leads too. */
function isAmiss(mode: Link["mode"]): boolean {
  return mode === "connecting" || mode === "greeting" || mode === "refused";
}

function whyClosed({ endpoint, mode, mailbox }: Link): string {
  switch (mode) {
    case "connecting":
      return `${endpoint} cannot be reached from here`;
    case "greeting":
      return `${endpoint} has not answered: it cannot reach this mailbox, ${mailbox}, or refuses it`;
    case "refused":
      return `${endpoint} or this worker does not want the key of the other: the log says which`;
    case "parted":
      return `${endpoint} is going down`;
    default:
      return `${endpoint}: ${mode}`;
  }
}
