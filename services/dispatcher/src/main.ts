import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
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
  const handle = await startDispatcher({ config, database, clock, log });
  return { handle, log, drainMs: config.DRAIN_MS };
});
