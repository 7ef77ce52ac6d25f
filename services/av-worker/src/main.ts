import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { runService } from "@rs-agent/shared/lifecycle.ts";
import { createLogger } from "@rs-agent/shared/logger.ts";
import { startAvWorker } from "./av-worker.ts";
import { avWorkerConfigSchema } from "./config.ts";

await runService(() => {
  const config = loadConfig(avWorkerConfigSchema, process.env);
  const log = createLogger("av-worker", config.LOG_LEVEL);
  const handle = startAvWorker({ config, clock: systemClock, log });
  return { handle, log, drainMs: config.DRAIN_MS };
});
