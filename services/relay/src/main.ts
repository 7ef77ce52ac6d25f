import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { watchDatabase } from "@rs-agent/shared/health/database-part.ts";
import { Metrics } from "@rs-agent/shared/health/metrics.ts";
import { serveHealth } from "@rs-agent/shared/health/serve-health.ts";
import { runService } from "@rs-agent/shared/lifecycle.ts";
import { createLogger } from "@rs-agent/shared/logger.ts";
import { openDatabase } from "@rs-agent/shared/store/database.ts";
import { relayConfigSchema } from "./config.ts";
import { startRelay } from "./relay.ts";

await runService(async () => {
  const config = loadConfig(relayConfigSchema, process.env);
  const log = createLogger("relay", config.LOG_LEVEL);
  const clock = systemClock;
  const { MONGODB_URI: uri, MONGODB_DB: db } = config;
  const database = await openDatabase({ uri, db, clock, log });
  const metrics = new Metrics();
  const service = await startRelay({ config, database, clock, log, metrics });
  const handle = await serveHealth(service, {
    listen: config.HEALTH_HTTP,
    service: "relay",
    parts: [watchDatabase(database, clock)],
    metrics,
    log,
  });
  return { handle, log, drainMs: config.DRAIN_MS };
});
