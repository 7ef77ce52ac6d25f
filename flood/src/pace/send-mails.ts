import { setTimeout as wait } from "node:timers/promises";
import type { Lanes } from "../senders/lanes.ts";
import type { Schedule } from "./schedule.ts";

/** How a flood ends by itself. */
export interface Pace {
  /** The most mails to send. */
  mails: number;
  /** Absent: as fast as accepted, for `ms`. */
  schedule?: Schedule;
  ms: number;
}

export interface PaceDeps {
  lanes: Lanes;
  /** Told about each mail when it is due, and when that was. */
  onDue: (number: number, atMs: number) => void;
  /** On abort nothing more is begun. */
  signal: AbortSignal;
}

/** Timers fire on whole milliseconds; the loop does not wake more often than this. */
const shortestMs = 1;

/**
 * Sends the mails of a schedule, each when it is due, whether or not those before were answered. A
 * mail that is late because this process was busy keeps its due time: waiting is counted from
 * there.
 */
export async function sendOnSchedule(
  schedule: Schedule,
  { lanes, onDue, signal }: PaceDeps,
): Promise<void> {
  const begun = performance.now();
  for (let number = 0; number < schedule.mails && !signal.aborted;) {
    const due = schedule.dueBy(performance.now() - begun);
    for (; number < due; number += 1) {
      const atMs = begun + schedule.atMs(number);
      onDue(number, atMs);
      lanes.offer({ number, atMs });
    }
    if (number === schedule.mails) return;
    const nextMs = begun + schedule.atMs(number) - performance.now();
    await pause(Math.max(shortestMs, nextMs), signal);
  }
}

/** Sends a new mail whenever a connection is free. */
export async function sendAsAccepted(
  { mails, ms }: Pick<Pace, "mails" | "ms">,
  { lanes, onDue, signal }: PaceDeps,
): Promise<void> {
  const begun = performance.now();
  const timeIsUp = new AbortController();
  const timer = setTimeout(() => timeIsUp.abort(), ms);
  try {
    const over = AbortSignal.any([signal, timeIsUp.signal]);
    const overAt = new Promise<void>((resolve) => {
      over.addEventListener("abort", () => resolve(), { once: true });
    });
    for (let number = 0; number < mails && !over.aborted;) {
      for (; number < mails && lanes.hasFreeLane; number += 1) {
        const atMs = performance.now();
        if (atMs - begun >= ms) return;
        onDue(number, atMs);
        lanes.offer({ number, atMs });
      }
      await Promise.race([lanes.change(), overAt]);
    }
  } finally {
    clearTimeout(timer);
  }
}

async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await wait(ms, undefined, { signal }).catch(() => undefined);
}
