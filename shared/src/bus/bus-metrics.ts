import type { Metrics, Sample } from "../health/metrics.ts";
import type { DropCounts } from "./drop-counter.ts";

/** What either side of the bus has turned away. */
export interface BusFigures {
  dropped: () => Partial<DropCounts>;
  /** Attempts of peers that came no further than the handshake. */
  refused: () => number;
}

export function showBus(metrics: Metrics, { dropped, refused }: BusFigures): void {
  metrics.counted(
    {
      name: "rs_agent_bus_frames_dropped_total",
      help: "Frames from the bus that were thrown away, by cause; stale results are task, late and session",
      labels: ["cause"],
    },
    () => Object.entries(dropped()).map(([cause, count]): Sample<"cause"> => [count, { cause }]),
  );
  metrics.counted(
    {
      name: "rs_agent_bus_peers_refused_total",
      help: "Tries of peers that the mailbox refused: no key, a wrong one, or one that is not listed",
    },
    () => [[refused(), {}]],
  );
}
