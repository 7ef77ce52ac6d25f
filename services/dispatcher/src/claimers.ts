import type { Logger } from "@rs-agent/shared/logger.ts";
import { ExpectedMail } from "@rs-agent/shared/store/expected-mail.ts";
import type { Claim } from "@rs-agent/shared/store/mails.ts";

/** Room that comes back within this time is claimed for together. */
const companyMs = 20;

/** How many to claim, and only which. */
export type Wanted = Pick<Claim, "limit" | "only">;

export interface ClaimerDeps {
  /** How many may be claimed now. */
  room: () => number;
  /** Claims; how many it got. */
  claim: (wanted: Wanted) => Promise<number>;
  batch: number;
  log: Logger;
}

/**
 * Claims one kind of waiting mail, one round at a time, while there is reason to believe that some waits:
 * somebody has said so, the last round came back full, or there was no room for it yet.
 */
export interface Claimer {
  /** This mail waits; or some does, or may. Cheap; may be called for each hint. */
  poke(mailId?: string): void;
  /** There may be room that was not there before, and soon more, for what is believed to wait. */
  onRoom(): void;
  /** Takes nothing more; settles when the round under way has ended. */
  stop(): Promise<void>;
}

export function createClaimer({ room, claim, batch, log }: ClaimerDeps): Claimer {
  const expected = new ExpectedMail();
  /** Something has changed since the room was looked at. */
  let changed = false;
  let stopped = false;
  let round: Promise<void> | undefined;
  let soon: NodeJS.Timeout | undefined;
  let failing = false;

  const rounds = async () => {
    while (changed && !stopped && !expected.isNone) {
      changed = false;
      const free = Math.min(batch, room());
      if (free <= 0) return;
      const wanted = expected.take(free);
      try {
        const isFull = (await claim(wanted)) >= wanted.limit;
        if (isFull && wanted.only === undefined) {
          expected.expect();
          changed = true;
        }
        failing = false;
      } catch (error) {
        if (!failing) log.warn({ err: error }, "claim failed, the timer tries again");
        failing = true;
        return;
      }
    }
  };
  const look = () => {
    clearTimeout(soon);
    soon = undefined;
    changed = true;
    if (stopped || round !== undefined || expected.isNone) return;
    round = rounds().finally(() => {
      round = undefined;
      if (changed) look();
    });
  };

  return {
    poke(mailId) {
      expected.expect(mailId);
      look();
    },
    onRoom() {
      if (!stopped && !expected.isNone) soon ??= setTimeout(look, companyMs);
    },
    async stop() {
      stopped = true;
      clearTimeout(soon);
      await round;
    },
  };
}
