import type { Plan } from "../policy/plan.ts";
import type { MailState, Outcome, Recipient } from "./record.ts";

/** The recipients with every `open` one closed by this outcome; closed ones stay as they are. */
export function recipientsWith(
  recipients: readonly Recipient[],
  outcome: Exclude<Outcome, "open">,
  at: Date,
): Recipient[] {
  return recipients.map((recipient) =>
    recipient.outcome === "open" ? { ...recipient, outcome, at } : recipient,
  );
}

/** The order in which outcomes give a mail its state, where its recipients differ. */
const precedence = ["dead", "bounced", "quarantined", "sent", "discarded"] as const;

/**
 * The final state of a mail by its recipients' outcomes, or undefined while one is open. The outcome
 * that a person should see first wins: dead, bounced, quarantined, sent, discarded.
 */
export function finalStateOf(
  recipients: readonly Recipient[],
): (typeof precedence)[number] | undefined {
  if (recipients.some((recipient) => recipient.outcome === "open")) return undefined;
  return precedence.find((state) => recipients.some((recipient) => recipient.outcome === state));
}

/** When a final record may go, or undefined where policy keeps it for ever. */
export function retentionUntil(
  state: MailState,
  retentionMs: Plan["retentionMs"] | undefined,
  now: Date,
): Date | undefined {
  const keepMs = (retentionMs as Partial<Record<MailState, number>> | undefined)?.[state];
  return keepMs === undefined ? undefined : new Date(now.getTime() + keepMs);
}
