import { setTimeout as pause } from "node:timers/promises";
import { messageOf, RetryableError, TerminalError } from "@rs-agent/shared/errors.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { MailChange } from "@rs-agent/shared/life/change.ts";
import type { MailStore } from "@rs-agent/shared/store/mails.ts";
import type { DeliveryDeps } from "./attempt.ts";
import type { Lease } from "./leases.ts";

/** Milliseconds between two tries while the database is away. */
const pausesMs = [50, 200, 500, 1_000, 2_000] as const;

/**
 * Does something with the database again and again until it says how that ended, so that what we
 * know is not forgotten while it is away. What is done has to be idempotent.
 * @returns undefined if `signal` aborted first, or the database refuses it for good (logged)
 */
export async function untilAnswered<T>(
  act: () => Promise<T>,
  log: Logger,
  signal: AbortSignal,
): Promise<T | undefined> {
  for (let tries = 0; ; tries += 1) {
    try {
      return await act();
    } catch (error) {
      if (error instanceof TerminalError) {
        log.error({ err: error }, "the database refuses this");
        return undefined;
      }
      if (!(error instanceof RetryableError)) throw error;
      if (tries === 0) log.warn({ reason: messageOf(error) }, "the database is asked again");
    }
    const pauseMs = pausesMs[Math.min(tries, pausesMs.length - 1)];
    await pause(pauseMs, undefined, { signal }).catch(() => undefined);
    if (signal.aborted) return undefined;
  }
}

/** Ends our part in the mail. */
export async function writeAndEnd(
  deps: Pick<DeliveryDeps, "log" | "closing" | "counts"> & {
    database: { mails: Pick<MailStore, "write"> };
  },
  lease: Lease,
  change: MailChange,
): Promise<void> {
  const { mails } = deps.database;
  const act = () => mails.write(lease.mailId, lease.token, change);
  lease.settle();
  const written = await untilAnswered(act, deps.log, deps.closing);
  lease.end();
  if (written !== "stale") return;
  deps.counts.staleMails += 1;
  deps.log.warn({ mailId: lease.mailId }, "the lease is another's, nothing written");
}
