import type { Clock } from "../clock.ts";
import { messageOf } from "../errors.ts";
import type { HealthPart } from "./health-part.ts";
import type { Metrics } from "./metrics.ts";

/** Milliseconds. */
export interface PresenceTiming {
  /** Between two pings. */
  askEvery: number;
  /** Without an answer for this long, the database is away. */
  awayAfter: number;
}

const usual: PresenceTiming = { askEvery: 2_000, awayAfter: 5_000 };

/** What a service asks of the database, for its metrics. */
export function showCommands(metrics: Metrics, database: { readonly commands: number }): void {
  metrics.counted(
    {
      name: "rs_agent_database_commands_total",
      help: "Commands sent to the database, whatever became of them",
    },
    () => [[database.commands, {}]],
  );
}

/**
 * Whether the database answers. It is asked on a timer, so that what is told is never older than
 * that.
 */
export function watchDatabase(
  database: { ping(): Promise<unknown> },
  clock: Pick<Clock, "monotonicMs">,
  timing: PresenceTiming = usual,
): HealthPart {
  let answeredAtMs = clock.monotonicMs();
  let isAsked = false;
  let error: string | undefined;
  const ask = () => {
    // A hanging ping is not joined by others: the time since the last answer says enough.
    if (isAsked) return;
    isAsked = true;
    database
      .ping()
      .then(
        () => {
          answeredAtMs = clock.monotonicMs();
          error = undefined;
        },
        (reason: unknown) => {
          error = messageOf(reason);
        },
      )
      .finally(() => {
        isAsked = false;
      });
  };
  const timer = setInterval(ask, timing.askEvery);
  timer.unref();
  return {
    name: "database",
    whyNot() {
      const agoMs = clock.monotonicMs() - answeredAtMs;
      if (agoMs < timing.awayAfter) return undefined;
      const silence = `no answer for ${Math.round(agoMs / 1_000)} s`;
      return error === undefined ? silence : `${silence}: ${error}`;
    },
    close: () => clearInterval(timer),
  };
}
