import type { CheckKind, TaskKind, Verdict } from "@rs-agent/shared/checks/verdict.ts";
import type { Moment } from "@rs-agent/shared/life/events.ts";
import type { Lane } from "@rs-agent/shared/mail/lane.ts";
import type { RecipientOutcome } from "@rs-agent/shared/mail/outcome-log.ts";
import type { BodyRef } from "@rs-agent/shared/mail/record.ts";
import type { HeldMail } from "./held-mail.ts";

/** What a decision may know beside the mail. */
export interface Knowledge {
  /** This step of ours, now by the database's clock. */
  moment: Moment & { by: string };
  /** Some worker of those that are waited for is able, or a person has paused it: the mail simply waits. */
  isAble: (lane: Lane) => boolean;
  /** The SMTP sender's domain is of the tenant under whose policy the mail goes out. */
  isOwnSender: (held: HeldMail) => boolean;
}

/** What is decided once something is done, by what is known then. */
export type Then<T = void> = (know: Knowledge, done: T) => Effect[];

/**
 * What a decision on a held mail wants done. The desk does it, one after the other, and stops where the
 * mail is given up or lost.
 */
export type Effect =
  /** Ask a worker, or wait for the answer that a sibling gets. */
  | { kind: "ask"; task: TaskKind }
  /** See what is next, by what is known then. */
  | { kind: "go on" }
  /** Write what is noted after a moment, together with others; the lease is kept. */
  | { kind: "write soon" }
  /** Write what is noted, which gives up the lease: our part in the mail ends. */
  | { kind: "finish" }
  /** The same, back to the queue. */
  | { kind: "give back"; task: TaskKind; reason: string }
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
