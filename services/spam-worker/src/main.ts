import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { runService } from "@rs-agent/shared/lifecycle.ts";
import { createLogger } from "@rs-agent/shared/logger.ts";
import { spamWorkerConfigSchema } from "./config.ts";
import { startSpamWorker } from "./spam-worker.ts";

await runService(() => {
  const config = loadConfig(spamWorkerConfigSchema, process.env);
  const log = createLogger("spam-worker", config.LOG_LEVEL);
  const handle = startSpamWorker({ config, clock: systemClock, log });
  return { handle, log, drainMs: config.DRAIN_MS };
});
