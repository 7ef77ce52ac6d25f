import type { z } from "zod";
import { systemClock, type Clock } from "../clock.ts";
import { loadConfig } from "../config.ts";
import { runService, type ServiceHandle } from "../lifecycle.ts";
import { createLogger, type Logger } from "../logger.ts";
import type { HealthPart } from "./health-part.ts";
import type { ListenAddress } from "./listen-address.ts";
import { Metrics } from "./metrics.ts";
import { serveHealth } from "./serve-health.ts";

/** The settings that every service has (docs/settings.md). */
interface ServiceConfig {
  LOG_LEVEL: string;
  DRAIN_MS: number;
  HEALTH_HTTP?: ListenAddress | undefined;
}

export interface ServiceDeps<C> {
  config: C;
  clock: Clock;
  log: Logger;
  metrics: Metrics;
}

interface Started {
  handle: ServiceHandle;
  /** What the service needs for its work. */
  parts: HealthPart[];
}

/** Runs a service as this process, with the settings in its environment, and serves its health. */
export function runWithHealth<S extends z.ZodType<ServiceConfig>>(
  service: string,
  schema: S,
  start: (deps: ServiceDeps<z.output<S>>) => Promise<Started> | Started,
): Promise<void> {
  return runService(async () => {
    const config = loadConfig(schema, process.env);
    const log = createLogger(service, config.LOG_LEVEL);
    const metrics = new Metrics();
    const { handle, parts } = await start({ config, clock: systemClock, log, metrics });
    const listen = config.HEALTH_HTTP;
    const healthy = await serveHealth(handle, { listen, service, parts, metrics, log });
    return { handle: healthy, log, drainMs: config.DRAIN_MS };
  });
}
