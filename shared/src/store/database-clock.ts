import type { Db } from "mongodb";
import type { Clock } from "../clock.ts";
import { messageOf } from "../errors.ts";
import type { Logger } from "../logger.ts";
import { reach } from "./connection.ts";

/** `now` is the database's time, so that skewed hosts agree about leases; `monotonicMs` is our own. */
export interface DatabaseClock extends Clock {
  /** Milliseconds by which `now` may at most be wrong; absent: it is the database's own. */
  errorMs?(): number;
}

const samples = 3;
const measureEveryMs = 60_000;

/**
 * Measures what the database's clock shows against our monotonic clock, now and each minute. Between
 * two measurements a jump of the host's wall clock changes nothing.
 */
export async function openDatabaseClock(
  admin: Db,
  clock: Clock,
  log: Logger,
): Promise<{ clock: Required<DatabaseClock>; close: () => void }> {
  let { offsetMs, errorMs } = await measure(admin, clock);
  const timer = setInterval(() => {
    measure(admin, clock).then(
      (measured) => {
        ({ offsetMs, errorMs } = measured);
      },
      (error: unknown) => log.warn({ reason: messageOf(error) }, "database clock not measured"),
    );
  }, measureEveryMs);
  timer.unref();
  return {
    clock: {
      now: () => new Date(Math.round(clock.monotonicMs() + offsetMs)),
      monotonicMs: () => clock.monotonicMs(),
      errorMs: () => errorMs,
    },
    close: () => clearInterval(timer),
  };
}

/**
 * Database time minus monotonic time, by the quickest of a few answers: it is the least in doubt, by
 * half its round trip.
 */
async function measure(admin: Db, clock: Clock): Promise<{ offsetMs: number; errorMs: number }> {
  let best = { roundTripMs: Infinity, offsetMs: 0 };
  for (let sample = 0; sample < samples; sample++) {
    const sentMs = clock.monotonicMs();
    const hello = await reach(() => admin.command({ hello: 1 }));
    const roundTripMs = clock.monotonicMs() - sentMs;
    const shown: unknown = hello.localTime;
    const databaseMs = shown instanceof Date ? shown.getTime() : clock.now().getTime();
    if (roundTripMs < best.roundTripMs)
      best = { roundTripMs, offsetMs: databaseMs - (sentMs + roundTripMs / 2) };
  }
  return { offsetMs: best.offsetMs, errorMs: best.roundTripMs / 2 };
}
