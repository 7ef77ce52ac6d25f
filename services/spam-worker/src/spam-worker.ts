import type { Clock } from "@rs-agent/shared/clock.ts";
import type { Metrics } from "@rs-agent/shared/health/metrics.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { EngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import { EnginePool } from "@rs-agent/shared/engines/engine-pool.ts";
import { startWorker, type WorkerHandle } from "@rs-agent/shared/worker/worker.ts";
import type { SpamWorkerConfig } from "./config.ts";
import { createRspamdEngine } from "./rspamd/engine.ts";
import type { SpamEngine } from "./spam-engine.ts";
import { createSpamHandler } from "./spam-handler.ts";
import { createSpamdEngine } from "./spamd/engine.ts";

/** A canary is small: an engine that needs longer for it has no room for anything. */
const canaryTimeoutMs = 30_000;

/**
 * The spam-worker: takes spam tasks from the bus and asks its engine. Logs `ready` once an engine has
 * passed its canaries.
 * @throws as `startWorker`
 */
export function startSpamWorker(deps: {
  config: SpamWorkerConfig;
  clock: Clock;
  log: Logger;
  metrics?: Metrics;
}): WorkerHandle {
  const { config, clock, log } = deps;
  const { addresses, placesEach, connect } = engineOf(config, clock);
  const pool = new EnginePool(
    addresses.map(connect),
    { placesEach, canaryTimeoutMs: Math.min(config.SPAM_TIMEOUT_MS, canaryTimeoutMs) },
    { clock, log },
  );
  const handler = createSpamHandler({
    pool,
    engine: config.SPAM_ENGINE,
    timeoutMs: config.SPAM_TIMEOUT_MS,
  });
  const worker = startWorker({ ...deps, handler });
  const texts = addresses.map(({ text }) => text);
  worker.ready.then(
    () => log.info({ bus: worker.mailbox, engine: config.SPAM_ENGINE, addresses: texts }, "ready"),
    () => undefined, // the caller learns of it from `ready` itself
  );
  return worker;
}

interface EngineSettings {
  addresses: readonly EngineAddress[];
  /** Requests at once to each address. */
  placesEach: number;
  connect: (address: EngineAddress) => SpamEngine;
}

function engineOf(config: SpamWorkerConfig, clock: Clock): EngineSettings {
  const limits = {
    timeoutMs: config.SPAM_TIMEOUT_MS,
    connectTimeoutMs: config.SPAM_CONNECT_TIMEOUT_MS,
    maxReplyBytes: config.SPAM_MAX_REPLY_BYTES,
  };
  switch (config.SPAM_ENGINE) {
    case "spamd":
      return {
        addresses: config.SPAM_SPAMD,
        placesEach: config.SPAM_CHILDREN,
        connect: (address) => createSpamdEngine({ address, clock, ...limits }),
      };
    case "rspamd": {
      const known = {
        requiredPoints: config.SPAM_RSPAMD_REQUIRED,
        taskTimeoutMs: config.SPAM_RSPAMD_TASK_TIMEOUT_MS,
      };
      return {
        addresses: config.SPAM_RSPAMD,
        placesEach: config.SPAM_RSPAMD_REQUESTS,
        connect: (address) => createRspamdEngine({ address, clock, ...known, ...limits }),
      };
    }
  }
}
