import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { watchDatabase } from "@rs-agent/shared/health/database-part.ts";
import { Metrics } from "@rs-agent/shared/health/metrics.ts";
import { serveHealth } from "@rs-agent/shared/health/serve-health.ts";
import { runService } from "@rs-agent/shared/lifecycle.ts";
import { createLogger } from "@rs-agent/shared/logger.ts";
import { openDatabase } from "@rs-agent/shared/store/database.ts";
import { dispatcherConfigSchema } from "./config.ts";
import { startDispatcher } from "./dispatcher.ts";

await runService(async () => {
  const config = loadConfig(dispatcherConfigSchema, process.env);
  const log = createLogger("dispatcher", config.LOG_LEVEL);
  const clock = systemClock;
  const database = await openDatabase({
    uri: config.MONGODB_URI,
    db: config.MONGODB_DB,
    clock,
    log,
  });
  const metrics = new Metrics();
  const service = await startDispatcher({ config, database, clock, log, metrics });
  const handle = await serveHealth(service, {
    listen: config.HEALTH_HTTP,
    service: "dispatcher",
    parts: [watchDatabase(database, clock)],
    metrics,
    log,
  });
  return { handle, log, drainMs: config.DRAIN_MS };
});
