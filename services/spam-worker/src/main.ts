import { runWithHealth } from "@rs-agent/shared/health/run-with-health.ts";
import { workerParts } from "@rs-agent/shared/worker/worker-health.ts";
import { spamWorkerConfigSchema } from "./config.ts";
import { startSpamWorker } from "./spam-worker.ts";

await runWithHealth("spam-worker", spamWorkerConfigSchema, (deps) => {
  const worker = startSpamWorker(deps);
  return { handle: worker, parts: workerParts(worker) };
});
