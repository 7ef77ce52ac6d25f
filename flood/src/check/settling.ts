import { setTimeout as wait } from "node:timers/promises";
import { RetryableError } from "@rs-agent/shared/errors.ts";
import type { SystemWatch } from "../measure/system-watch.ts";
import type { Tally } from "../measure/tally.ts";

/** Why the wait for the end of all mail was over. */
export type Settled = "settled" | "nothing moves" | "the database is away" | "interrupted";

export interface SettlingOptions {
  tally: Tally;
  hasSink: boolean;
  system: Pick<SystemWatch, "look" | "waiting" | "mark" | "awaySinceMs"> | undefined;
  /** How long to wait while nothing moves; as long as anything moves, the wait goes on. */
  patienceMs: number;
  signal: AbortSignal;
}

const lookEveryMs = 250;
/** A restarting database is back by then; if it is gone, no end can be seen. */
const mostAwayMs = 15_000;

/** Waits until every copy that must come has come, and nothing of ours waits in the system. */
export async function untilSettled(options: SettlingOptions): Promise<Settled> {
  const { tally, hasSink, system, patienceMs, signal } = options;
  let mark = "";
  let movedAt = performance.now();
  for (;;) {
    await system?.look().catch((error: unknown) => {
      if (!(error instanceof RetryableError)) throw error;
    });
    const awaited = hasSink ? tally.awaited : 0;
    const isEmpty =
      system === undefined || (system.waiting === 0 && system.awaySinceMs === undefined);
    if (awaited === 0 && isEmpty) return "settled";
    const now = `${tally.copies} ${system?.mark ?? ""}`;
    if (now !== mark) [mark, movedAt] = [now, performance.now()];
    const nowMs = performance.now();
    const stillMs = nowMs - movedAt;
    const awaySinceMs = system?.awaySinceMs;
    if (awaySinceMs === undefined && stillMs > patienceMs) return "nothing moves";
    // With a sink, copies may still come without the database.
    const isGone =
      nowMs - (awaySinceMs ?? nowMs) > mostAwayMs && (!hasSink || stillMs > mostAwayMs);
    if (awaySinceMs !== undefined && (isGone || stillMs > patienceMs)) {
      return "the database is away";
    }
    await wait(lookEveryMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return "interrupted";
  }
}
