import type { Logger } from "@rs-agent/shared/logger.ts";

/** What is known of the database: whether the last thing that was asked of it was answered. */
export interface StorePresence {
  readonly isAway: boolean;
  heard(isThere: boolean): void;
}

export function createStorePresence(log: Logger): StorePresence {
  let isAway = false;
  return {
    get isAway() {
      return isAway;
    },
    heard: (isThere) => {
      if (isAway !== isThere) return;
      isAway = !isThere;
      if (isAway) log.error("the database is away, mail is put off");
      else log.info("the database is back, mail is taken again");
    },
  };
}
