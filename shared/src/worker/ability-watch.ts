import { setTimeout as delay } from "node:timers/promises";
import { messageOf } from "../errors.ts";
import type { Ability, TaskHandler } from "./handler.ts";
import { proveSpools } from "./spool.ts";

/** A canary that takes longer than this says that the engine is unable. */
const canaryLimitMs = 60_000;
/** An engine that was found unable is asked again this soon. */
const unableIntervalMs = 2_000;

export interface AbilityWatchDeps {
  handler: TaskHandler;
  intervalMs: number;
  spoolDir: string | undefined;
  /** Called after every round of canaries. */
  onAbility: (ability: Ability, spools: readonly string[]) => void;
}

/** Puts the canaries through the engine again and again until the signal aborts. Ready means able. */
export async function watchAbility(deps: AbilityWatchDeps, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const limit = AbortSignal.any([signal, AbortSignal.timeout(canaryLimitMs)]);
    const ability = await testAbility(deps.handler, limit);
    const spools = ability.able ? await proveSpools(deps.spoolDir, deps.handler, limit) : [];
    if (isAborted(signal)) return;
    deps.onAbility(ability, spools);
    const pauseMs = ability.able ? deps.intervalMs : Math.min(deps.intervalMs, unableIntervalMs);
    await delay(pauseMs, undefined, { signal }).catch(() => undefined);
  }
}

async function testAbility(handler: TaskHandler, limit: AbortSignal): Promise<Ability> {
  const aborted = Promise.withResolvers<Ability>();
  const onAbort = () => aborted.resolve({ able: false, reason: "the canary did not come back" });
  limit.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([handler.canary(limit), aborted.promise]);
  } catch (error) {
    return { able: false, reason: messageOf(error) };
  } finally {
    limit.removeEventListener("abort", onAbort);
  }
}

/** Asked again after an await, which the compiler cannot know to have changed it. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
