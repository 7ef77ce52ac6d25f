import { levelOf, type LoggedStatus } from "../life/outcomes.ts";
import type { Logger } from "../logger.ts";
import { loggedAddress, type AddressLogMode } from "./logged-address.ts";
import type { MailRecord } from "./record.ts";

/** What became of one recipient, or of one attempt for it. */
export interface RecipientOutcome {
  address: string;
  status: LoggedStatus;
  /** RFC 3463. */
  dsn: string;
  /** What the next hop said, or our reason. */
  reply: string;
  /** Only with `bounced`: nobody is told. */
  report?: "none";
}

/**
 * Logs one line for each recipient's outcome, with the fields that postmasters know from Postfix:
 * `from`, `to`, `relay` (`none` if no hop was asked), `delay` (seconds since the mail came in),
 * `dsn`, `status`, and the hop's reply.
 */
export function logOutcomes(
  log: Logger,
  mode: AddressLogMode,
  mail: MailRecord,
  hop: string,
  outcomes: readonly RecipientOutcome[],
  now: Date,
): void {
  for (const { address, status, dsn, reply, report } of outcomes) {
    log[levelOf(status)](
      {
        mailId: mail._id,
        from: loggedAddress(senderOf(mail), mode),
        to: loggedAddress(address, mode),
        relay: hop,
        delay: (now.getTime() - mail.receivedAt.getTime()) / 1_000,
        dsn,
        status,
        ...(report === undefined ? {} : { report }),
        reply: mode === "plain" ? reply : withoutAddresses(reply),
      },
      "recipient outcome",
    );
  }
}

/** The sender as the relay gives it to the next hop. */
export function senderOf(mail: MailRecord): string {
  return mail.enriched?.mailFrom ?? mail.smtp.mailFrom;
}

/** Replies repeat addresses. Where addresses may not be logged, those may not either. */
function withoutAddresses(reply: string): string {
  return reply.replace(/(?:"(?:[^"\\]|\\.){0,64}"|[^\s<>,;:]{1,64})@[^\s<>,;:]{1,255}/g, "-");
}
