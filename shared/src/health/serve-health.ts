import type { ServiceHandle } from "../lifecycle.ts";
import type { HealthPart } from "./health-part.ts";
import {
  openHealthServer,
  readinessOf,
  type HealthServer,
  type HealthServerDeps,
} from "./health-server.ts";
import type { Metrics } from "./metrics.ts";

export type ServedHealth = Omit<HealthServerDeps, "listen"> & {
  /** Undefined: health is not served. */
  listen: HealthServerDeps["listen"] | undefined;
};

/** A service whose health may be served. */
export interface HealthyService extends ServiceHandle {
  /** `host:port`; undefined if health is not served. */
  readonly health: string | undefined;
}

/**
 * Serves a service's health until it has drained or is closed; while it drains, it is not ready.
 * The parts are closed at the end.
 * @throws TerminalError HEALTH_LISTEN; the service is then closed
 */
export async function serveHealth(
  service: ServiceHandle,
  { listen, ...deps }: ServedHealth,
): Promise<HealthyService> {
  let isDraining = false;
  const lifecycle: HealthPart = {
    name: "service",
    whyNot: () => (isDraining ? "draining" : undefined),
  };
  const parts = [lifecycle, ...deps.parts];
  let server: HealthServer | undefined;
  const closeParts = () => {
    for (const part of parts) part.close?.();
  };
  const end = async () => {
    closeParts();
    await server?.close();
  };
  // If nobody can ask, nothing needs to be watched.
  if (listen === undefined) closeParts();
  else {
    deps.metrics.addProcess();
    showReadiness(deps.metrics, deps.service, parts);
    server = await openHealthServer({ ...deps, listen, parts }).catch(async (error: unknown) => {
      await service.close().finally(end);
      throw error;
    });
  }
  service.done.then(end, end);
  const close = async () => {
    isDraining = true;
    await service.close().finally(end);
  };
  return {
    health: server?.address,
    ready: service.ready,
    done: service.done,
    async drain(signal) {
      isDraining = true;
      await service.drain(signal).finally(end);
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

/** The metrics that every service has. */
export function showReadiness(
  metrics: Metrics,
  service: string,
  parts: readonly HealthPart[],
): void {
  metrics.gauge(
    { name: "rs_agent_ready", help: "1 while /readyz answers 200, otherwise 0" },
    () => [[Number(readinessOf({ service, parts }).ready), {}]],
  );
  metrics.gauge(
    {
      name: "rs_agent_info",
      help: "Always 1; its labels say which service this is",
      labels: ["service", "node"],
    },
    () => [[1, { service, node: process.version }]],
  );
}
