import type { Random } from "./random.ts";

/**
 * What goes wrong in a schedule. A seed chooses a few kinds and how often each strikes, so that
 * every kind also occurs alone; at `healMs` all of it ends, and everything must come to its end.
 */

/** Chances are per request, message or point; intervals are milliseconds between two strikes. */
export interface FaultProfile {
  healMs: number;
  /** Requests to the database. */
  lostRequests: number;
  lostAnswers: number;
  partlyDone: number;
  /** The driver's first try of a write is done late, next to its second. */
  doneTwice: number;
  /** A request hangs, and is done after further tries. */
  doneLate: number;
  slowDatabase: number;
  /** Processes die or stand still at one of their requests, messages or replies. */
  killsAtRequest: number;
  pausesAtRequest: number;
  killsAtHop: number;
  pausesAtHop: number;
  /** The change stream. */
  forgetfulStream: number;
  stalledStream: number;
  /** Hints to relays that are lost, and those that name all mail there is. */
  lostHints: number;
  wrongHints: number;
  /** The bus: lines may go bad, and somebody sends forged results. */
  badLines: boolean;
  forgeries: number;
  /** The hops. */
  whims: number;
  /** Milliseconds between two strikes of each of these; Infinity: never. */
  everyMs: Record<Strike, number>;
}

export const strikes = [
  "kill",
  "pause",
  "drain",
  "jump",
  "election",
  "outage",
  "lag",
  "cut",
  "line",
  "partition",
  "engine",
  "policy",
  "pause-step",
  "restart-all",
  "plan-loss",
] as const;
export type Strike = (typeof strikes)[number];

export function chooseFaults(random: Random): FaultProfile {
  const some = (probability: number, most: number) =>
    random.chance(probability) ? random.next() ** 2 * most : 0;
  const every = (probability: number, leastMs: number) =>
    random.chance(probability) ? random.between(leastMs, 8 * leastMs) : Infinity;
  const isCalm = random.chance(0.03);
  const retries = random.fork("retries");
  const late = random.fork("late");
  const hints = random.fork("hints");
  const plans = random.fork("plans");
  return {
    healMs: isCalm ? 0 : random.between(2_000, 18_000),
    lostRequests: some(0.3, 0.1),
    lostAnswers: some(0.3, 0.15),
    partlyDone: some(0.2, 0.1),
    doneTwice: retries.chance(0.25) ? retries.next() * 0.2 : 0,
    doneLate: late.chance(0.25) ? late.next() * 0.1 : 0,
    slowDatabase: random.chance(0.15) ? random.between(2, 400) : 1,
    killsAtRequest: some(0.3, 0.03),
    pausesAtRequest: some(0.3, 0.02),
    killsAtHop: some(0.3, 0.2),
    pausesAtHop: some(0.3, 0.2),
    forgetfulStream: some(0.3, 0.2),
    stalledStream: some(0.3, 0.5),
    lostHints: hints.chance(0.3) ? hints.next() : 0,
    wrongHints: hints.chance(0.3) ? hints.next() : 0,
    badLines: random.chance(0.4),
    forgeries: some(0.3, 0.6),
    whims: some(0.5, 0.6),
    everyMs: {
      kill: every(0.4, 1_200),
      pause: every(0.4, 1_200),
      drain: every(0.2, 2_500),
      jump: every(0.2, 2_000),
      election: every(0.3, 2_000),
      outage: every(0.15, 5_000),
      lag: every(0.3, 2_000),
      cut: every(0.3, 1_200),
      line: every(0.4, 1_000),
      partition: every(0.2, 3_000),
      engine: every(0.4, 1_200),
      policy: every(0.2, 2_500),
      "pause-step": every(0.15, 2_500),
      "restart-all": every(0.05, 8_000),
      "plan-loss": plans.chance(0.15) ? plans.between(2_000, 10_000) : Infinity,
    },
  };
}
