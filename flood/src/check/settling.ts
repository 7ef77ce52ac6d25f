import { setTimeout as wait } from "node:timers/promises";
import { RetryableError } from "@rs-agent/shared/errors.ts";
import type { SystemWatch } from "../measure/system-watch.ts";
import type { Tally } from "../measure/tally.ts";

/** Why the wait for the end of all mail was over. */
export type Settled = "settled" | "nothing moves" | "interrupted";

export interface SettlingOptions {
  tally: Tally;
  hasSink: boolean;
  system: SystemWatch | undefined;
  /** As long as anything moves it is waited for; this long without is the end. */
  patienceMs: number;
  signal: AbortSignal;
}

const lookEveryMs = 250;

/** Waits until every copy that must come has come and nothing of ours waits in the system. */
export async function untilSettled(options: SettlingOptions): Promise<Settled> {
  const { tally, hasSink, system, patienceMs, signal } = options;
  let mark = "";
  let movedAt = performance.now();
  for (;;) {
    await system?.look().catch((error: unknown) => {
      if (!(error instanceof RetryableError)) throw error;
    });
    const awaited = hasSink ? tally.awaited : 0;
    if (awaited === 0 && (system?.waiting ?? 0) === 0) return "settled";
    const now = `${tally.copies} ${system?.mark ?? ""}`;
    if (now !== mark) [mark, movedAt] = [now, performance.now()];
    if (performance.now() - movedAt > patienceMs) return "nothing moves";
    await wait(lookEveryMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return "interrupted";
  }
}
