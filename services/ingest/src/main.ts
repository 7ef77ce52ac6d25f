import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
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
  const handle = await startIngest({ config, database, log });
  return { handle, log, drainMs: config.DRAIN_MS };
});
