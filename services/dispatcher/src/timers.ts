import type { Logger } from "@rs-agent/shared/logger.ts";

export interface TimedJob {
  everyMs: number;
  run: () => void | Promise<void>;
}

/** Runs each job on a timer of its own; a job that still runs is not started twice. */
export function startTimers(log: Logger, jobs: readonly TimedJob[]): { stop(): void } {
  const timers = jobs.map(({ everyMs, run }) => {
    let running = false;
    let failing = false;
    return setInterval(() => {
      if (running) return;
      running = true;
      Promise.resolve()
        .then(run)
        .then(
          () => {
            failing = false;
          },
          (error: unknown) => {
            if (!failing) log.warn({ err: error }, "a timed job failed, it runs again");
            failing = true;
          },
        )
        .finally(() => {
          running = false;
        });
    }, everyMs);
  });
  return {
    stop() {
      for (const timer of timers) clearInterval(timer);
    },
  };
}
