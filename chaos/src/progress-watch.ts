import type { Database } from "@rs-agent/shared/store/database.ts";

/** How much mail waits, checked again and again. */
export interface ProgressWatch {
  /** Accepted mails that have not met their end, by the last look. */
  waiting(): number;
  /**
   * The same, by a look now.
   * @throws RetryableError while the database is away
   */
  look(): Promise<number>;
  /** What they wait for, by the last look: `spam 12, 127.0.0.1:25 3`. */
  text(): string;
  stop(): void;
}

const everyMs = 500;

export function watchProgress({ mails }: Pick<Database, "mails">): ProgressWatch {
  let waiting = 0;
  let text = "";
  let looking = false;
  const look = async () => {
    const groups = await mails.waiting();
    waiting = groups.reduce((sum, { count }) => sum + count, 0);
    text = groups
      .map(
        ({ state, next, count }) => `${next === "" || next.includes(":") ? state : next} ${count}`,
      )
      .join(", ");
    return waiting;
  };
  const timer = setInterval(() => {
    if (looking) return;
    looking = true;
    look()
      // The database was killed: the last number counts until it is back.
      .catch(() => undefined)
      .finally(() => (looking = false));
  }, everyMs);
  return { waiting: () => waiting, look, text: () => text, stop: () => clearInterval(timer) };
}
