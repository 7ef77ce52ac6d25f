import type { Clock } from "@rs-agent/shared/clock.ts";
import type { Metrics } from "@rs-agent/shared/health/metrics.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { startWorker, type WorkerHandle } from "@rs-agent/shared/worker/worker.ts";
import type { SpamWorkerConfig } from "./config.ts";
import { createSpamHandler } from "./spam-handler.ts";
import { SpamdPool } from "./spamd-pool.ts";
import { createSpamdClient } from "./spamd/client.ts";

/** A canary is small: who needs longer for it has no child free for anybody. */
const canaryTimeoutMs = 30_000;

/**
 * The spam-worker: takes spam tasks from the bus and asks spamd. Logs `ready` once a spamd has
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
  const limits = {
    timeoutMs: config.SPAM_TIMEOUT_MS,
    connectTimeoutMs: config.SPAM_CONNECT_TIMEOUT_MS,
    maxReplyBytes: config.SPAM_MAX_REPLY_BYTES,
  };
  const pool = new SpamdPool({
    clients: config.SPAM_SPAMD.map((address) => createSpamdClient({ address, ...limits })),
    children: config.SPAM_CHILDREN,
    canaryTimeoutMs: Math.min(config.SPAM_TIMEOUT_MS, canaryTimeoutMs),
    clock,
    log,
  });
  const handler = createSpamHandler({ pool, timeoutMs: config.SPAM_TIMEOUT_MS });
  const worker = startWorker({ ...deps, handler });
  worker.ready.then(
    () => log.info({ bus: worker.mailbox, spamd: config.SPAM_SPAMD }, "ready"),
    () => undefined, // whoever runs the worker hears of it by `ready` itself
  );
  return worker;
}
