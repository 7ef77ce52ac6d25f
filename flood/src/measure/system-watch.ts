import { RetryableError } from "@rs-agent/shared/errors.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";

/** How much mail waits in a system, by its database, beyond what waited before the run. */
export interface SystemWatch {
  /** By the last look. */
  readonly waiting: number;
  /**
   * How long the oldest mail that is being worked on has been there; undefined if there is none.
   */
  oldestMs(now: Date): number | undefined;
  /** Changes whenever something has moved. */
  readonly mark: string;
  /** Since when the database has not answered, by the monotonic clock; undefined if it answers. */
  readonly awaySinceMs: number | undefined;
  /**
   * Looks now.
   * @throws RetryableError STORE_UNREACHABLE
   */
  look(): Promise<void>;
  stop(): void;
}

const everyMs = 1_000;

/** Looks every second, unless the last look has not ended. */
export async function watchSystem({ mails }: Pick<Database, "mails">): Promise<SystemWatch> {
  let before = 0;
  let waiting = 0;
  let oldestAt: Date | undefined;
  let mark = "";
  let awaySinceMs: number | undefined;
  const look = async () => {
    const askedMs = performance.now();
    const groups = await mails.waiting().catch((error: unknown) => {
      awaySinceMs ??= askedMs;
      throw error;
    });
    awaySinceMs = undefined;
    const total = groups.reduce((sum, { count }) => sum + count, 0);
    const atWork = groups.filter(({ state }) => state !== "held");
    waiting = Math.max(0, total - before);
    oldestAt = atWork.map(({ oldestAt: at }) => at).sort((a, b) => a.getTime() - b.getTime())[0];
    mark = groups.map(({ state, next, count }) => `${state} ${next} ${count}`).join();
    return total;
  };
  before = await look();
  await look();
  let looking = false;
  const timer = setInterval(() => {
    if (looking) return;
    looking = true;
    look()
      .catch((error: unknown) => {
        // The database is away: the last number counts until it is back.
        if (!(error instanceof RetryableError)) throw error;
      })
      .finally(() => (looking = false));
  }, everyMs);
  return {
    get waiting() {
      return waiting;
    },
    get mark() {
      return mark;
    },
    get awaySinceMs() {
      return awaySinceMs;
    },
    oldestMs: (now) => (oldestAt === undefined ? undefined : now.getTime() - oldestAt.getTime()),
    look: async () => {
      await look();
    },
    stop: () => clearInterval(timer),
  };
}
