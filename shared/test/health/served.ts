import { createSilentLogger } from "../../src/logger.ts";
import type { HealthPart } from "../../src/health/health-part.ts";
import { Metrics } from "../../src/health/metrics.ts";
import { serveHealth, type HealthyService } from "../../src/health/serve-health.ts";
import type { ServiceHandle } from "../../src/lifecycle.ts";

/** A service that does nothing until it is told to end. */
export function idleService(): ServiceHandle & { drained: PromiseWithResolvers<undefined> } {
  const drained = Promise.withResolvers<undefined>();
  const done = Promise.withResolvers<void>();
  const close = () => {
    done.resolve();
    return Promise.resolve();
  };
  return {
    drained,
    ready: Promise.resolve(),
    done: done.promise,
    drain: async () => {
      await drained.promise;
      done.resolve();
    },
    close,
    [Symbol.asyncDispose]: close,
  };
}

export function serveIdle(
  parts: readonly HealthPart[] = [],
  service: ServiceHandle = idleService(),
  metrics = new Metrics(),
): Promise<HealthyService> {
  return serveHealth(service, {
    listen: { host: "127.0.0.1", port: 0 },
    service: "idle",
    parts,
    metrics,
    log: createSilentLogger(),
  });
}
