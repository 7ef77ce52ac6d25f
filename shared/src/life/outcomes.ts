import { z } from "zod";

/** What one end of a recipient is. */
interface End {
  /** RFC 3463 status code if no next hop gave one. */
  status: string;
  /** How loud the log line of it is: `error` if a person must act. */
  level: "info" | "error";
  /** How long its mail is kept if no policy says so. */
  kept: string;
  /** In a sentence, for the page of records. */
  is: string;
}

/**
 * The ends that a recipient's mail may come to (I1), in the order in which they give a mail its state
 * if its recipients differ: what a person should see first wins. Whatever counts, keeps, logs or
 * shows outcomes goes by this table.
 */
export const ends = {
  dead: { status: "5.3.0", level: "error", kept: "never", is: "given up, kept as a dead letter" },
  bounced: { status: "5.7.1", level: "info", kept: "30d", is: "refused; the sender was told" },
  quarantined: { status: "5.7.1", level: "info", kept: "30d", is: "kept back for a person" },
  sent: { status: "2.0.0", level: "info", kept: "7d", is: "the next hop has it" },
  discarded: { status: "2.7.1", level: "info", kept: "7d", is: "dropped without a report" },
} as const satisfies Record<string, End>;

/** What a recipient's mail came to. */
export type FinalOutcome = keyof typeof ends;
/** The state of one recipient: `open` until its mail has come to an end. */
export type Outcome = "open" | FinalOutcome;

export const finalOutcomes = Object.keys(ends) as [FinalOutcome, ...FinalOutcome[]];
export const outcomeSchema = z.enum(["open", ...finalOutcomes]);

/** A value for each end. */
export function forEachEnd<T>(valueOf: (outcome: FinalOutcome) => T): Record<FinalOutcome, T> {
  const entries = finalOutcomes.map((outcome) => [outcome, valueOf(outcome)]);
  return Object.fromEntries(entries) as Record<FinalOutcome, T>;
}

/** What an attempt at the next hop may come to for one recipient. */
export const attemptStatuses = [
  "sent",
  "deferred",
  "bounced",
  "dead",
  "unknown",
  "held",
] as const satisfies readonly (FinalOutcome | "deferred" | "unknown" | "held")[];
export type AttemptStatus = (typeof attemptStatuses)[number];

/** A value for each status of an attempt. */
export function forEachStatus<T>(valueOf: (status: AttemptStatus) => T): Record<AttemptStatus, T> {
  const entries = attemptStatuses.map((status) => [status, valueOf(status)]);
  return Object.fromEntries(entries) as Record<AttemptStatus, T>;
}

/** What is said of one recipient in the log: an end, or what an attempt left open. */
export type LoggedStatus = FinalOutcome | AttemptStatus;

/** How loud that line is. */
export function levelOf(status: LoggedStatus): "info" | "warn" | "error" {
  if (status in ends) return ends[status as FinalOutcome].level;
  // Held for a person.
  return status === "held" ? "error" : "warn";
}

interface WithOutcome {
  outcome: Outcome;
  report?: "none" | undefined;
}

export function isOpen({ outcome }: WithOutcome): boolean {
  return outcome === "open";
}

/** It failed, and its sender was not told (I12). */
export function isUnreported({ outcome, report }: WithOutcome): boolean {
  return outcome === "bounced" && report === "none";
}

/** The recipients with every `open` one closed by this outcome; closed ones stay as they are. */
export function recipientsWith<R extends WithOutcome>(
  recipients: readonly R[],
  outcome: FinalOutcome,
  at: Date,
): R[] {
  return recipients.map((one) => (isOpen(one) ? { ...one, outcome, at } : one));
}

/** The final state of a mail by its recipients' outcomes, or undefined while one is open. */
export function finalStateOf(recipients: readonly WithOutcome[]): FinalOutcome | undefined {
  if (recipients.some(isOpen)) return undefined;
  return finalOutcomes.find((end) => recipients.some(({ outcome }) => outcome === end));
}
