import { taskIn } from "@rs-agent/shared/checks/asked.ts";
import { kindOf, laneIn, laneOf, type Lane } from "@rs-agent/shared/mail/lane.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { Deliverable } from "@rs-agent/shared/policy/disposition.ts";
import type { Plan } from "@rs-agent/shared/mail/plan.ts";
import type { ClaimedMail } from "@rs-agent/shared/store/mails.ts";
import { merged, type MailChange } from "@rs-agent/shared/life/change.ts";
import { recordAfter } from "@rs-agent/shared/store/mail-change.ts";

/** A mail that this dispatcher holds by a lease, with what is known but not yet written. */
export interface HeldMail {
  readonly token: string;
  /** The record as claimed, with every later change of ours. */
  mail: MailRecord;
  plan: Plan | undefined;
  /** Monotonic milliseconds until which the lease is surely ours. */
  validUntilMs: number;
  /** The raw mail, once a task needed it. */
  raw: Buffer | undefined;
  /** Bytes that it takes of what the dispatcher may hold. */
  loadedBytes: number;
  /** The reading of it under way. */
  loading: Promise<boolean> | undefined;
  /** The file in the spool, once written (disk mode). */
  spoolPath: string | undefined;
  pending: MailChange | undefined;
  /** The last write of this mail: the next one waits for it. */
  writing: Promise<unknown>;
  /** Kinds that wait for a worker's credit. */
  readonly asked: Set<TaskKind>;
  /** Tasks at workers: task id → kind. */
  readonly tasks: Map<string, TaskKind>;
  /** Times that a task of a kind was sent. */
  readonly attempts: Map<TaskKind, number>;
  /** What the checks amount to: it decides what the enricher's headers say. */
  disposition: Deliverable;
  /** Given back, final or lost: nothing more is done with it here. */
  over: boolean;
  /** Settled once it is. */
  readonly left: PromiseWithResolvers<undefined>;
}

export function hold(claimed: ClaimedMail): HeldMail {
  return {
    token: claimed.token,
    mail: claimed.mail,
    plan: undefined,
    validUntilMs: claimed.validUntilMs,
    raw: undefined,
    loadedBytes: 0,
    loading: undefined,
    spoolPath: undefined,
    pending: undefined,
    writing: Promise.resolve(),
    asked: new Set(),
    tasks: new Map(),
    attempts: new Map(),
    disposition: "deliver",
    over: false,
    left: Promise.withResolvers(),
  };
}

/** It has come to need this task: it was not claimed for it, nor has it been at a worker for it. */
export function isNewTo({ mail, attempts }: HeldMail, kind: TaskKind): boolean {
  const awaited = laneIn(mail.next);
  return (awaited === undefined || kindOf(awaited) !== kind) && !attempts.has(kind);
}

/** Whom a task of this kind of the mail is for. */
export function laneFor({ plan }: HeldMail, kind: TaskKind): Lane {
  return laneOf(kind, taskIn(plan, kind)?.settings);
}

/** Notes a change to be written with the next write, and makes the record in memory show it. */
export function note(held: HeldMail, change: MailChange): void {
  held.pending = merged(held.pending, change);
  held.mail = recordAfter(held.mail, change);
}
