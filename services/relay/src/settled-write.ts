import { messageOf, RetryableError, TerminalError } from "@rs-agent/shared/errors.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { MailChange } from "@rs-agent/shared/life/change.ts";
import type { MailStore } from "@rs-agent/shared/store/mails.ts";
import { untilAnswered as asked } from "@rs-agent/shared/store/until-answered.ts";
import type { DeliveryDeps } from "./attempt.ts";
import type { Lease } from "./leases.ts";

/**
 * Does something with the database until it says how that ended. What is done has to be idempotent.
 * @returns undefined if `signal` aborted first, or the database refuses it for good (logged)
 */
export async function untilAnswered<T>(
  act: () => Promise<T>,
  log: Logger,
  signal: AbortSignal,
): Promise<T | undefined> {
  const onAway = (error: RetryableError, tries: number) => {
    if (tries === 0) log.warn({ reason: messageOf(error) }, "the database is asked again");
  };
  try {
    return await asked(act, { signal, onAway, isOver: () => signal.aborted });
  } catch (error) {
    if (error instanceof TerminalError) log.error({ err: error }, "the database refuses this");
    else if (!(error instanceof RetryableError)) throw error;
    return undefined;
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
  const act = () => mails.write(lease.holding, change);
  lease.settle();
  const written = await untilAnswered(act, deps.log, deps.closing);
  lease.end();
  if (written !== "stale") return;
  deps.counts.staleMails += 1;
  deps.log.warn({ mailId: lease.holding.mailId }, "the lease is another's, nothing written");
}
