import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { Metrics } from "@rs-agent/shared/health/metrics.ts";
import { serveHealth } from "@rs-agent/shared/health/serve-health.ts";
import { runService } from "@rs-agent/shared/lifecycle.ts";
import { createLogger } from "@rs-agent/shared/logger.ts";
import { workerParts } from "@rs-agent/shared/worker/worker-health.ts";
import { startAvWorker } from "./av-worker.ts";
import { avWorkerConfigSchema } from "./config.ts";

await runService(async () => {
  const config = loadConfig(avWorkerConfigSchema, process.env);
  const log = createLogger("av-worker", config.LOG_LEVEL);
  const metrics = new Metrics();
  const worker = startAvWorker({ config, clock: systemClock, log, metrics });
  const handle = await serveHealth(worker, {
    listen: config.HEALTH_HTTP,
    service: "av-worker",
    parts: workerParts(worker),
    metrics,
    log,
  });
  return { handle, log, drainMs: config.DRAIN_MS };
});
