import type { Metrics, Sample } from "@rs-agent/shared/health/metrics.ts";
import { attemptStatuses } from "@rs-agent/shared/life/outcomes.ts";
import { showLeases } from "@rs-agent/shared/store/lease-metrics.ts";
import { showBus } from "@rs-agent/shared/bus/bus-metrics.ts";
import type { WaitingListener } from "@rs-agent/shared/worker/waiting-listener.ts";
import type { RelayCounts } from "./counts.ts";
import type { RouteSnapshot } from "./route-queue.ts";

/** What is read when somebody looks. */
export interface RelayFigures {
  counts: Readonly<RelayCounts>;
  routes: () => readonly RouteSnapshot[];
  newerRecords: () => number;
  listener: WaitingListener | undefined;
}

export function showRelay(metrics: Metrics, figures: RelayFigures): void {
  const { counts, routes, newerRecords, listener } = figures;
  const total = (value: (route: RouteSnapshot) => number) =>
    routes().reduce((sum, route) => sum + value(route), 0);
  metrics.counted(
    {
      name: "rs_agent_relay_recipients_total",
      help: "Outcomes of attempts at next hops, one for each recipient",
      labels: ["outcome"],
    },
    () => attemptStatuses.map((outcome): Sample<"outcome"> => [counts[outcome], { outcome }]),
  );
  metrics.counted(
    {
      name: "rs_agent_relay_unreported_recipients_total",
      help: "Recipients bounced without anybody being told: the sender is not verified, or the DNS did not answer",
      labels: ["why"],
    },
    () =>
      (["unverified", "dns"] as const).map((why): Sample<"why"> => [
        counts.unreported[why],
        { why },
      ]),
  );
  metrics.counted(
    {
      name: "rs_agent_relay_resent_mails_total",
      help: "Mails sent again after an unknown outcome: possible duplicates",
    },
    () => [[counts.resentMails, {}]],
  );
  showLeases(metrics, {
    heldMails: () => total(({ heldMails }) => heldMails),
    staleWrites: () => counts.staleMails,
    newerRecords,
  });
  metrics.gauge(
    { name: "rs_agent_relay_sessions", help: "Open SMTP sessions with next hops" },
    () => [[total(({ openSessions }) => openSessions), {}]],
  );
  metrics.gauge(
    {
      name: "rs_agent_relay_dispatchers",
      help: "Dispatchers that tell this relay what waits; 0: it finds mail by its timer alone",
    },
    () => [[listener?.sessions ?? 0, {}]],
  );
  showBus(metrics, {
    dropped: () => listener?.dropped() ?? {},
    refused: () => listener?.refused() ?? 0,
  });
  metrics.gauge(
    { name: "rs_agent_relay_failed_routes", help: "Routes whose next hop cannot be reached" },
    () => [[total(({ failure }) => (failure === undefined ? 0 : 1)), {}]],
  );
}
