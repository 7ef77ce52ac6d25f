import type { Metrics } from "../health/metrics.ts";

/** What is read when somebody looks. */
export interface LeaseFigures {
  heldMails: () => number;
  staleWrites: () => number;
  newerRecords: () => number;
}

/** Of each service that holds mail by leases. */
export function showLeases(metrics: Metrics, figures: LeaseFigures): void {
  metrics.gauge(
    { name: "rs_agent_held_mails", help: "Mails that this service holds by a lease" },
    () => [[figures.heldMails(), {}]],
  );
  metrics.counted(
    {
      name: "rs_agent_stale_writes_total",
      help: "Writes that found the lease to be another's and changed nothing",
    },
    () => [[figures.staleWrites(), {}]],
  );
  metrics.gauge(
    {
      name: "rs_agent_newer_records",
      help: "Due mails that a newer release wrote and that this service leaves to it, as met within the last minute",
    },
    () => [[figures.newerRecords(), {}]],
  );
}
