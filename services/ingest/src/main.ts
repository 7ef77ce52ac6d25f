import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { watchDatabase } from "@rs-agent/shared/health/database-part.ts";
import { Metrics } from "@rs-agent/shared/health/metrics.ts";
import { serveHealth } from "@rs-agent/shared/health/serve-health.ts";
import { runService } from "@rs-agent/shared/lifecycle.ts";
import { createLogger } from "@rs-agent/shared/logger.ts";
import { openDatabase } from "@rs-agent/shared/store/database.ts";
import { ingestConfigSchema } from "./config.ts";
import { startIngest } from "./ingest.ts";

await runService(async () => {
  const config = loadConfig(ingestConfigSchema, process.env);
  const log = createLogger("ingest", config.LOG_LEVEL);
  const { MONGODB_URI: uri, MONGODB_DB: db } = config;
  const database = await openDatabase({ uri, db, clock: systemClock, log });
  const metrics = new Metrics();
  const service = await startIngest({ config, database, log, metrics });
  const handle = await serveHealth(service, {
    listen: config.HEALTH_HTTP,
    service: "ingest",
    parts: [watchDatabase(database, systemClock)],
    metrics,
    log,
  });
  return { handle, log, drainMs: config.DRAIN_MS };
});
