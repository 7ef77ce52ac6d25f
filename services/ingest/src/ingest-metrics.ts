import type { Metrics } from "@rs-agent/shared/health/metrics.ts";
import type { Refusal } from "./reply.ts";

/** What ingest counts of what it says to its clients. */
export interface IngestMetrics {
  accepted(direction: "incoming" | "outgoing"): void;
  refused(refusal: Pick<Refusal, "responseCode" | "status">): void;
}

/** What is read when somebody looks. */
export interface IngestFigures {
  bytesInFlight: () => number;
  isOverloaded: () => boolean;
}

const directions = [{ direction: "incoming" }, { direction: "outgoing" }] as const;

export function createIngestMetrics(
  metrics: Metrics,
  { bytesInFlight, isOverloaded }: IngestFigures,
): IngestMetrics {
  const accepted = metrics.counter(
    {
      name: "rs_agent_ingest_mails_accepted_total",
      help: "Mails that are stored and were answered with 250",
      labels: ["direction"],
    },
    directions,
  );
  const refused = metrics.counter({
    name: "rs_agent_ingest_refusals_total",
    help: "Commands and mails refused, by reply code and enhanced status code (RFC 3463)",
    labels: ["reply", "status"],
  });
  metrics.gauge(
    { name: "rs_agent_ingest_in_flight_bytes", help: "Mail between first byte and database" },
    () => [[bytesInFlight(), {}]],
  );
  metrics.gauge(
    {
      name: "rs_agent_ingest_overloaded",
      help: "1 while new mail gets 452 because too much waits",
    },
    () => [[Number(isOverloaded()), {}]],
  );
  return {
    accepted: (direction) => accepted.add({ direction }),
    refused: ({ responseCode, status }) => refused.add({ reply: String(responseCode), status }),
  };
}
