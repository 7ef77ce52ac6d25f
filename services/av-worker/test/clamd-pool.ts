import { systemClock } from "@rs-agent/shared/clock.ts";
import type { PoolAnswer, PoolAskOptions } from "@rs-agent/shared/engines/engine-pool.ts";
import type { VirusFinding } from "@rs-agent/shared/checks/virus.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { createCanaryCheck, type CanaryRules } from "../src/canaries.ts";
import { parseClamdAddress } from "../src/clamd/address.ts";
import { createClamdPool, type ClamdPool, type ClamdPoolOptions } from "../src/clamd/engine.ts";
import type { ScanInput } from "../src/clamd/frames.ts";

/** A pool as in the av-worker, with times that suit a test. */
export function createPool(
  addresses: readonly string[],
  options: ClamdPoolOptions = {},
  rules: Partial<CanaryRules> = {},
): ClamdPool {
  return createClamdPool(
    addresses.map((text) => parseClamdAddress(text)),
    { recheckMs: 20, recoveryWaitMs: 2_000, ...options },
    {
      check: createCanaryCheck({ allowBlind: [], now: () => systemClock.now(), ...rules }),
      clock: systemClock,
      log: createSilentLogger(),
    },
  );
}

/** Scans one mail, or the file at a path; with plenty of time, unless a limit is given. */
export function scan(
  pool: ClamdPool,
  mail: Buffer | string,
  limits: Partial<PoolAskOptions> = {},
): Promise<PoolAnswer<VirusFinding>> {
  const input: ScanInput =
    typeof mail === "string" ? { kind: "path", path: mail } : { kind: "bytes", bytes: mail };
  const { signal } = new AbortController();
  return pool.ask(input, { signal, timeoutMs: 600_000, accountMs: 10_000, ...limits });
}
