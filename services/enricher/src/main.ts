import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { runService } from "@rs-agent/shared/lifecycle.ts";
import { createLogger } from "@rs-agent/shared/logger.ts";
import { enricherConfigSchema } from "./config.ts";
import { startEnricher } from "./enricher.ts";

await runService(async () => {
  const config = loadConfig(enricherConfigSchema, process.env);
  const log = createLogger("enricher", config.LOG_LEVEL);
  const handle = await startEnricher({ config, clock: systemClock, log });
  return { handle, log, drainMs: config.DRAIN_MS };
});
