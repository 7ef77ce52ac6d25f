import type { Plan } from "./plan.ts";
import type { MailRecord, MailState, Outcome, Recipient } from "./record.ts";

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

/** A mail of which nobody was told stays for so long that somebody can find it. */
const keptUnreportedMs = 30 * 86_400_000;

/**
 * When a final record may go, or undefined where policy keeps it for ever. One that nobody was told of
 * (I12) stays for 30 days at the least, and not for ever: strangers can cause it.
 */
export function retentionUntil(
  state: MailState,
  { recipients, plan }: { recipients: readonly Recipient[]; plan?: Plan | undefined },
  now: Date,
): Date | undefined {
  const keepMs = (plan?.retentionMs as Partial<Record<MailState, number>> | undefined)?.[state];
  if (recipients.some(isUnreported)) {
    return new Date(now.getTime() + Math.max(keepMs ?? 0, keptUnreportedMs));
  }
  return keepMs === undefined ? undefined : new Date(now.getTime() + keepMs);
}

/** With this begins the reason of incoming mail that the relay holds since the next hop did not take it in time. */
export const timeOverReason = "its time in the queue is over";

export function isTimeOver({ state, reason, route }: MailRecord): boolean {
  return state === "held" && route !== undefined && reason?.startsWith(timeOverReason) === true;
}

/** It failed, and its sender was not told (I12). */
export function isUnreported({ outcome, report }: Recipient): boolean {
  return outcome === "bounced" && report === "none";
}
