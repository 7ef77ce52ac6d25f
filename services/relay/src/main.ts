import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
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
  const handle = await startRelay({ config, database, clock, log });
  return { handle, log, drainMs: config.DRAIN_MS };
});
