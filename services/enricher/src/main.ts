import { runWithHealth } from "@rs-agent/shared/health/run-with-health.ts";
import { workerParts } from "@rs-agent/shared/worker/worker-health.ts";
import { enricherConfigSchema } from "./config.ts";
import { startEnricher } from "./enricher.ts";

await runWithHealth("enricher", enricherConfigSchema, async (deps) => {
  const worker = await startEnricher(deps);
  return { handle: worker, parts: workerParts(worker) };
});
