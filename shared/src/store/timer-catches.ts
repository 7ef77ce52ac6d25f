import type { Clock } from "../clock.ts";
import type { MailHint } from "./mails.ts";

/** What a service caught by its timer alone: mail that the change stream did not report in time (I6). */
export interface TimerCatches {
  /** The change stream reported something. */
  onHint(hint: MailHint): void;
  /**
   * This mail was claimed for the first time since it waits here; `waitsSince` is by the database's
   * clock. Mail that waited before the start is nothing that a stream could have reported.
   */
  onClaimed(mailId: string, waitsSince: Date): void;
  /** Mails since the start. One that was claimed a moment ago may still be reported, and is not counted yet. */
  readonly count: number;
}

/** Claimer and stream race: a mail counts as caught by the timer when no hint came for this long. */
const graceMs = 3_000;
/** This many mails are remembered as reported or counted; a mail that is claimed again is not new. */
const remembered = 50_000;

export function createTimerCatches(clock: Clock): TimerCatches {
  const startedAt = clock.now();
  const known = new Set<string>();
  /** Claimed without a hint until now, with the monotonic time from which that counts. */
  const open = new Map<string, number>();
  let count = 0;

  const remember = (mailId: string) => {
    known.delete(mailId);
    known.add(mailId);
    if (known.size <= remembered) return;
    const [oldest] = known;
    if (oldest !== undefined) known.delete(oldest);
  };
  const settle = () => {
    const now = clock.monotonicMs();
    for (const [mailId, countsFromMs] of open) {
      if (countsFromMs > now) return;
      open.delete(mailId);
      count += 1;
    }
  };
  return {
    onHint({ mailId }) {
      settle();
      if (mailId === undefined) return;
      open.delete(mailId);
      remember(mailId);
    },
    onClaimed(mailId, waitsSince) {
      settle();
      const isKnown = known.has(mailId);
      remember(mailId);
      if (isKnown || waitsSince < startedAt) return;
      open.set(mailId, clock.monotonicMs() + graceMs);
    },
    get count() {
      settle();
      return count;
    },
  };
}
