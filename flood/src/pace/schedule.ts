import { durationMs, durationSchema } from "@rs-agent/shared/duration.ts";
import { wrongOption } from "@rs-agent/kit/options.ts";

/** Mails per second from the stage's start to its end; a ramp if the two differ. */
export interface Stage {
  from: number;
  to: number;
  ms: number;
}

/** When each mail is to be sent, whatever became of those before (an open loop). */
export interface Schedule {
  readonly stages: readonly Stage[];
  /** The time until one more mail would be due. */
  readonly totalMs: number;
  /** How many mails it has. */
  readonly mails: number;
  /** When the nth mail (from 0) is due, in milliseconds from the beginning. */
  atMs(nth: number): number;
  /** How many mails are due by then. */
  dueBy(ms: number): number;
}

const highestRate = 100_000;

/**
 * `50`, `10:30s,100:60s,10:30s`, a ramp `10-200:60s`. A rate without a time lasts for `forMs`; only
 * a single rate may lack a time.
 * @throws TerminalError CFG_INVALID
 */
export function parseRate(text: string, forMs: number): Stage[] {
  const wrong = () =>
    wrongOption(
      "--rate",
      text,
      "must be a schedule such as 50, 10:30s,100:60s or a ramp 10-200:60s",
    );
  const entries = text.split(",");
  return entries.map((entry) => {
    const [rates = "", time, ...more] = entry.trim().split(":");
    const [from = Number.NaN, to = from, ...others] = rates.split("-").map(rateOf);
    const isTimed = time !== undefined && durationSchema.safeParse(time).success;
    const lacksTime = time === undefined && entries.length > 1;
    if (more.length > 0 || others.length > 0 || lacksTime) throw wrong();
    if (time !== undefined && !isTimed) throw wrong();
    if (Number.isNaN(from) || Number.isNaN(to)) throw wrong();
    return { from, to, ms: isTimed ? durationMs(time) : forMs };
  });
}

function rateOf(text: string): number {
  const rate = /^\d{1,6}(?:\.\d{1,3})?$/.test(text) ? Number(text) : Number.NaN;
  return rate <= highestRate ? rate : Number.NaN;
}

/** `most`: at most this many mails; `mostMs`: none later than this. */
export function createSchedule(
  stages: readonly Stage[],
  { most = Number.POSITIVE_INFINITY, mostMs = Number.POSITIVE_INFINITY } = {},
): Schedule {
  const begun = stages.map((stage, nth) => {
    const before = stages.slice(0, nth);
    return {
      stage,
      atMs: before.reduce((sum, { ms }) => sum + ms, 0),
      mails: before.reduce((sum, each) => sum + mailsBy(each, each.ms), 0),
    };
  });
  const wholeMs = stages.reduce((sum, { ms }) => sum + ms, 0);
  const countBy = (ms: number) => {
    const now = begun.findLast(({ atMs }) => atMs <= ms);
    return now === undefined
      ? 0
      : now.mails + mailsBy(now.stage, Math.min(ms - now.atMs, now.stage.ms));
  };
  // The first mail is due immediately, and none at the very end: 10/s for 1 s is 10 mails.
  const endMs = Math.min(wholeMs, mostMs);
  const mails = Math.min(most, Math.ceil(countBy(endMs) - 1e-9));
  const atMs = (nth: number) => {
    const now = begun.findLast(({ mails: count }) => count <= nth + 1e-9);
    return now === undefined ? 0 : now.atMs + timeOf(now.stage, nth - now.mails);
  };
  return {
    stages,
    mails,
    totalMs: most <= mails ? Math.min(endMs, atMs(mails)) : endMs,
    atMs,
    dueBy: (ms) => Math.min(mails, Math.floor(countBy(ms) + 1e-9) + 1),
  };
}

/** The integral of the rate: mails up to `ms` of the stage. */
function mailsBy({ from, to, ms: length }: Stage, ms: number): number {
  return (from * ms + ((to - from) * ms * ms) / (2 * length)) / 1_000;
}

/** The inverse of `mailsBy`. */
function timeOf({ from, to, ms: length }: Stage, mails: number): number {
  const slope = (to - from) / length;
  const wanted = mails * 1_000;
  if (wanted <= 0) return 0;
  if (slope === 0) return from === 0 ? length : wanted / from;
  const root = Math.sqrt(Math.max(0, from * from + 2 * slope * wanted));
  return Math.min(length, (root - from) / slope);
}
