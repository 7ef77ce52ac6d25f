import type { CheckKind, TaskKind, Verdict } from "@rs-agent/shared/checks/verdict.ts";
import type { DeathCause, Moment } from "@rs-agent/shared/life/events.ts";
import type { Lane } from "@rs-agent/shared/mail/lane.ts";
import type { RecipientOutcome } from "@rs-agent/shared/mail/outcome-log.ts";
import type { BodyRef, MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { PolicyBook } from "@rs-agent/shared/policy/effective.ts";
import type { HeldMail } from "./held-mail.ts";

/** What a decision may know beside the mail. */
export interface Knowledge {
  /** This step of ours, now by the database's clock. */
  moment: Moment & { by: string };
  /** Some worker of those that are waited for is able, or a person has paused it: the mail simply waits. */
  isAble: (lane: Lane) => boolean;
  /** Older mail waits for them in the database. */
  hasBacklog: (lane: Lane) => boolean;
  /** The policies in force. */
  book: PolicyBook;
}

/** What is decided once something is done, by what is known then. */
export type Then<T = unknown> = (know: Knowledge, done: T) => Effect[];

/** What is decided on one of several held mails. */
export interface Decision {
  held: HeldMail;
  effects: readonly Effect[];
}

/**
 * What a decision on a held mail wants done. The loop does it, one after the other and what follows from it
 * at the end, and stops where the mail is given up or lost.
 */
export type Effect =
  /** A stub: read its record, so that it becomes a mail. */
  | { kind: "read record" }
  /** Give it its plan, by the policies in force. */
  | { kind: "plan" }
  /** Ask a worker, or wait for the answer that a sibling gets. */
  | { kind: "ask"; task: TaskKind }
  /** Ask a worker, whatever siblings do. */
  | { kind: "ask alone"; task: TaskKind }
  /** The verdict that a sibling got is this mail's too. */
  | { kind: "adopt"; check: CheckKind; verdict: Verdict }
  /** Wait for a worker's credit. */
  | { kind: "place"; lane: Lane }
  /** Read the raw mail, for which a worker has credit. */
  | { kind: "load"; lane: Lane }
  /** See what is next, by what is known then. */
  | { kind: "go on" }
  /** Write what is noted; the lease is kept. */
  | { kind: "write"; then?: Then }
  /** The same after a moment, together with others. */
  | { kind: "write soon" }
  /** Store the parts of a mail that is split. */
  | { kind: "insert"; mails: readonly MailRecord[]; then: Then }
  /** Write what is noted, which gives up the lease: our part in the mail ends. */
  | { kind: "finish" }
  /** The same, back to the queue. */
  | { kind: "give back"; step: TaskKind | "plan"; reason?: string }
  /** Give it up as a dead letter. */
  | { kind: "bury"; cause: DeathCause; reason: string }
  /** Tell the sender, durably. */
  | { kind: "report"; reason: string; then: Then }
  | { kind: "store body"; bytes: Buffer; then: Then<BodyRef> }
  /** A check has ended: its verdict may be that of siblings too. */
  | { kind: "share"; check: CheckKind; verdict: Verdict }
  /** A line for each recipient. */
  | { kind: "log outcomes"; outcomes: readonly RecipientOutcome[]; now: Date }
  /** A mail has come to need a task for which it is not asked: no worker is able. */
  | { kind: "count arrival"; task: TaskKind }
  | { kind: "count strikes"; task: TaskKind; count: number }
  /** A mail needs one of these workers, and none is able. */
  | { kind: "tell away"; lane: Lane };
