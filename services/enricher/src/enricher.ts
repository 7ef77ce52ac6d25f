import type { Clock } from "@rs-agent/shared/clock.ts";
import type { Metrics } from "@rs-agent/shared/health/metrics.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { maxTracedHeaderBytes } from "@rs-agent/shared/mail/admission.ts";
import { startWorker, type WorkerHandle } from "@rs-agent/shared/worker/worker.ts";
import type { EnricherConfig } from "./config.ts";
import { openCountries } from "./countries.ts";
import { createEnrichHandler } from "./handler.ts";

/**
 * The enricher: takes enrich tasks from the bus and changes mail as their policy says.
 * @throws TerminalError ENRICH_GEOIP_UNREADABLE
 */
export async function startEnricher(deps: {
  config: EnricherConfig;
  clock: Clock;
  log: Logger;
  metrics?: Metrics;
}): Promise<WorkerHandle> {
  const { config, clock, log } = deps;
  const countries = await openCountries({ path: config.ENRICH_GEOIP_DATABASE, log });
  const handler = createEnrichHandler({
    countries,
    authservIds: config.ENRICH_AUTHSERV_ID,
    concurrency: config.ENRICH_CONCURRENCY,
    maxHeaderBytes: maxTracedHeaderBytes,
    now: () => clock.now(),
  });
  const worker = startWorker({ ...deps, handler });
  worker.ready.then(
    () => log.info({ bus: worker.mailbox }, "ready"),
    () => undefined, // the caller learns of it from `ready` itself
  );
  return worker;
}
