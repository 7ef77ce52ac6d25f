import type { Stage } from "../pace/schedule.ts";
import type { Second } from "./timeline.ts";

/** A part of the schedule and what became of it, in mails per second. */
export interface StageRates {
  fromSecond: number;
  toSecond: number;
  /** How many seconds were counted. */
  seconds: number;
  offered: number;
  accepted: number;
  /** Undefined if nobody saw mails come out. */
  delivered?: number;
  /** The p99 of the worst second. */
  acceptP99Ms: number;
}

/** Where a rate no longer follows the offered one. */
export interface Saturation {
  /** The highest offered rate that was followed; 0 if none was. */
  upTo: number;
  /** The first rate that was not followed. */
  notAt: number;
  /** What came through at that rate: the most that the system can do. */
  makes: number;
}

const rampParts = 10;
/** Below this share of the offered rate, it does not follow. */
const followed = 0.95;
const shortestSeconds = 2;

/**
 * The rates of each stage, and of each tenth of a ramp. Only its later half is counted: the first
 * half still shows the previous stage.
 */
export function stageRates(
  stages: readonly Stage[],
  seconds: readonly Second[],
  seesDelivered: boolean,
): StageRates[] {
  let endMs = 0;
  return stages.flatMap(partsOf).flatMap(({ ms, offered }) => {
    const beginMs = endMs;
    endMs += ms;
    const from = Math.ceil((beginMs + ms / 2) / 1_000);
    const seen = seconds.slice(from, Math.floor(endMs / 1_000));
    if (seen.length === 0 || ms < shortestSeconds * 1_000) return [];
    const mean = (of: (second: Second) => number) =>
      seen.reduce((sum, second) => sum + of(second), 0) / seen.length;
    return [
      {
        fromSecond: beginMs / 1_000,
        toSecond: endMs / 1_000,
        seconds: seen.length,
        offered,
        accepted: mean(({ accepted }) => accepted),
        ...(seesDelivered ? { delivered: mean(({ delivered }) => delivered) } : {}),
        acceptP99Ms: Math.max(...seen.map(({ acceptP99Ms }) => acceptP99Ms ?? 0)),
      },
    ];
  });
}

/**
 * Undefined: every stage was followed. `share`: which part of the offered mails should come
 * through.
 */
export function saturationOf(
  rates: readonly StageRates[],
  of: (rates: StageRates) => number | undefined,
  share = 1,
): Saturation | undefined {
  const follows = (each: StageRates) => {
    const wanted = each.offered * share * each.seconds;
    const missing = wanted - (of(each) ?? 0) * each.seconds;
    // Among few mails, some are always a moment late, or of another kind.
    return missing <= Math.max(wanted * (1 - followed), 3 * Math.sqrt(wanted));
  };
  const known = rates.filter((each) => each.offered > 0 && of(each) !== undefined);
  const failed = known.filter((each) => !follows(each));
  const [first] = failed;
  if (first === undefined) return undefined;
  const below = known.filter((each) => follows(each) && each.offered < first.offered);
  return {
    upTo: Math.max(0, ...below.map(({ offered }) => offered)),
    notAt: first.offered,
    makes: Math.max(...failed.map((each) => of(each) ?? 0)),
  };
}

/** Each part with the rate of its later half. */
function partsOf({ from, to, ms }: Stage): { ms: number; offered: number }[] {
  if (from === to) return [{ ms, offered: from }];
  const step = (to - from) / rampParts;
  return Array.from({ length: rampParts }, (_, nth) => ({
    ms: ms / rampParts,
    offered: from + step * (nth + 0.75),
  }));
}
