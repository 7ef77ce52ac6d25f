import { setTimeout as delay } from "node:timers/promises";
import {
  formatEndpoint,
  parseEndpoint,
  resolveEndpoint,
  type Endpoint,
  type Lookup,
} from "../bus/endpoint.ts";
import type { BusProtection } from "../bus/protection.ts";
import { RetryableError } from "../errors.ts";
import type { Logger } from "../logger.ts";

export interface DirectoryDeps {
  /** As configured: addresses, and names that stand for all their addresses. */
  dispatchers: readonly string[];
  everyMs: number;
  lookup: Lookup;
  protection: BusProtection;
  log: Logger;
  /** The result sockets that there are now. */
  onResolved: (endpoints: ReadonlySet<string>) => void;
}

/**
 * Looks the dispatchers up again and again until the signal aborts. A name that is not known for a
 * while keeps what it last stood for.
 * @throws TerminalError CFG_BUS_UNPROTECTED, BUS_ADDRESS
 */
export async function watchDispatchers(deps: DirectoryDeps, signal: AbortSignal): Promise<void> {
  const known = new Map<string, readonly string[]>();
  const configured = deps.dispatchers.map((text) => [text, parseEndpoint(text)] as const);
  while (!signal.aborted) {
    for (const [text, endpoint] of configured) {
      const found = await find(endpoint, text, deps);
      if (found !== undefined) known.set(text, found);
    }
    if (isAborted(signal)) return;
    deps.onResolved(new Set([...known.values()].flat()));
    await delay(deps.everyMs, undefined, { signal }).catch(() => undefined);
  }
}

async function find(
  endpoint: Endpoint,
  text: string,
  deps: DirectoryDeps,
): Promise<string[] | undefined> {
  try {
    const found = (await resolveEndpoint(endpoint, deps.lookup)).map(formatEndpoint);
    for (const address of found) deps.protection.check(address, "connect");
    return found;
  } catch (error) {
    if (!(error instanceof RetryableError)) throw error;
    deps.log.warn({ dispatcher: text, reason: error.message }, "dispatcher name is not known now");
    return undefined;
  }
}

/** Asked again after an await, which the compiler cannot know to have changed it. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
