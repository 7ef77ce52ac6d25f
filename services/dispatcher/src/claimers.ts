import type { Logger } from "@rs-agent/shared/logger.ts";

export interface ClaimerDeps {
  /** How many may be claimed now. */
  room: () => number;
  /** Claims up to this many; how many it got. */
  claim: (limit: number) => Promise<number>;
  batch: number;
  log: Logger;
}

/** Claims one kind of waiting mail, one round at a time, again immediately while rounds come back full. */
export interface Claimer {
  /** Something may be there, or there may be room. Cheap; may be called for each hint. */
  poke(): void;
  /** Takes nothing more; settles when the round under way has ended. */
  stop(): Promise<void>;
}

export function createClaimer({ room, claim, batch, log }: ClaimerDeps): Claimer {
  let wanted = false;
  let stopped = false;
  let round: Promise<void> | undefined;
  let failing = false;

  const rounds = async () => {
    while (wanted && !stopped) {
      wanted = false;
      const limit = Math.min(batch, room());
      if (limit <= 0) return;
      try {
        if ((await claim(limit)) >= limit) wanted = true;
        failing = false;
      } catch (error) {
        if (!failing) log.warn({ err: error }, "claim failed, the timer tries again");
        failing = true;
        return;
      }
    }
  };

  return {
    poke() {
      wanted = true;
      if (stopped || round !== undefined) return;
      round = rounds().finally(() => {
        round = undefined;
        if (wanted) this.poke();
      });
    },
    async stop() {
      stopped = true;
      await round;
    },
  };
}
