import type { Clock } from "@rs-agent/shared/clock.ts";
import type { Metrics } from "@rs-agent/shared/health/metrics.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { startWorker, type WorkerHandle } from "@rs-agent/shared/worker/worker.ts";
import { createCanaryCheck } from "./canaries.ts";
import { createClamdPool } from "./clamd/engine.ts";
import type { AvWorkerConfig } from "./config.ts";
import { createVirusHandler } from "./handler.ts";

/**
 * The av-worker: takes virus tasks from the bus and asks clamd. Logs `ready` once a clamd has
 * passed its canaries.
 * @throws as `startWorker`
 */
export function startAvWorker(deps: {
  config: AvWorkerConfig;
  clock: Clock;
  log: Logger;
  metrics?: Metrics;
}): WorkerHandle {
  const { config, clock, log } = deps;
  const pool = createClamdPool(
    config.AV_CLAMD,
    {
      sessions: config.AV_SESSIONS,
      depth: config.AV_DEPTH,
      streamMaxBytes: config.AV_STREAM_MAX_BYTES,
    },
    { check: createCanaryCheck(canaryRules(config, clock)), clock, log },
  );
  const handler = createVirusHandler({ pool, timeoutMs: config.AV_TIMEOUT_MS });
  const worker = startWorker({ ...deps, handler });
  const addresses = config.AV_CLAMD.map(({ text }) => text);
  worker.ready.then(
    () => log.info({ bus: worker.mailbox, clamd: addresses }, "ready"),
    () => undefined, // the caller learns of it from `ready` itself
  );
  return worker;
}

function canaryRules(config: AvWorkerConfig, clock: Clock) {
  const hours = config.AV_MAX_SIGNATURE_AGE_HOURS;
  return {
    allowBlind: config.AV_ALLOW_BLIND,
    now: () => clock.now(),
    ...(hours === undefined ? {} : { maxSignatureAgeMs: hours * 3_600_000 }),
  };
}
