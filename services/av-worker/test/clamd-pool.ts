import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { createCanaryCheck, type CanaryRules } from "../src/canaries.ts";
import { parseClamdAddress, type ClamdAddress } from "../src/clamd/address.ts";
import { ClamdPool, defaultPoolOptions, type PoolOptions } from "../src/clamd/pool.ts";

/** An address that the test knows to be one. */
export function addressOf(text: string): ClamdAddress {
  const address = parseClamdAddress(text);
  if (address === undefined) throw new Error(`${text} is no clamd address`);
  return address;
}

/** A pool as the av-worker has it, with times that suit a test. */
export function createPool(
  addresses: readonly string[],
  options: Partial<PoolOptions> = {},
  rules: Partial<CanaryRules> = {},
): ClamdPool {
  return new ClamdPool(
    addresses.map(addressOf),
    { ...defaultPoolOptions, recheckMs: 20, recoveryWaitMs: 2_000, ...options },
    {
      check: createCanaryCheck({ allowBlind: [], now: () => systemClock.now(), ...rules }),
      log: createSilentLogger(),
    },
  );
}
