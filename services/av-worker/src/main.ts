import { runWithHealth } from "@rs-agent/shared/health/run-with-health.ts";
import { workerParts } from "@rs-agent/shared/worker/worker-health.ts";
import { startAvWorker } from "./av-worker.ts";
import { avWorkerConfigSchema } from "./config.ts";

await runWithHealth("av-worker", avWorkerConfigSchema, (deps) => {
  const worker = startAvWorker(deps);
  return { handle: worker, parts: workerParts(worker) };
});
