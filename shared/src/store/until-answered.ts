import { setTimeout as pause } from "node:timers/promises";
import { RetryableError } from "../errors.ts";

/** Milliseconds between two tries while the database is away. */
const pausesMs = [50, 200, 500, 1_000, 2_000] as const;

export interface Patience {
  /** Nobody waits for the answer any more. */
  isOver: () => boolean;
  /** Ends a pause. */
  signal: AbortSignal;
  /** After each try to which the database gave no answer; `tries` counts from 0. */
  onAway: (error: RetryableError, tries: number) => void;
}

/**
 * Does something with the database again and again while it is away, so that what we know is not
 * forgotten meanwhile. What is done has to be idempotent.
 * @throws what it throws otherwise; its last RetryableError when nobody waits any more
 */
export async function untilAnswered<T>(act: () => Promise<T>, patience: Patience): Promise<T> {
  const { isOver, signal, onAway } = patience;
  for (let tries = 0; ; tries += 1) {
    try {
      return await act();
    } catch (error) {
      if (!(error instanceof RetryableError)) throw error;
      onAway(error, tries);
      const pauseMs = pausesMs[Math.min(tries, pausesMs.length - 1)];
      await pause(pauseMs, undefined, { signal }).catch(() => undefined);
      if (isOver()) throw error;
    }
  }
}
