import { taskIn } from "@rs-agent/shared/checks/asked.ts";
import { kindOf, laneIn, laneOf, type Lane } from "@rs-agent/shared/mail/lane.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { Deliverable } from "@rs-agent/shared/policy/disposition.ts";
import type { Plan } from "@rs-agent/shared/mail/plan.ts";
import type { Holding } from "@rs-agent/shared/store/holding.ts";
import type { ClaimedMail } from "@rs-agent/shared/store/mails.ts";
import { merged, type MailChange } from "@rs-agent/shared/life/change.ts";
import { recordAfter } from "@rs-agent/shared/store/mail-change.ts";
import { Mode } from "@rs-agent/shared/mode.ts";

/**
 * Where our part in a mail stands: it is worked on; its last write, which gives up the lease, is under
 * way; it is given back, final or lost.
 */
export type HeldMode = keyof typeof modes;

const modes = {
  working: [],
  finishing: ["working"],
  left: ["working", "finishing", "left"],
} as const;

/** A mail that this dispatcher holds by a lease, with what is known but not yet written. */
export class HeldMail {
  readonly holding: Holding;
  /** The record as claimed, with every later change of ours. */
  mail: MailRecord;
  plan: Plan | undefined;
  /** Monotonic milliseconds until which the lease is surely ours. */
  validUntilMs: number;
  /** The raw mail, once a task needed it. */
  raw: Buffer | undefined;
  /** Bytes that it takes of what the dispatcher may hold. */
  loadedBytes = 0;
  /** The reading of it under way. */
  loading: Promise<boolean> | undefined;
  /** The file in the spool, once written (disk mode). */
  spoolPath: string | undefined;
  pending: MailChange | undefined;
  /** The last write of this mail: the next one waits for it. */
  writing: Promise<unknown> = Promise.resolve();
  /** Kinds that wait for a worker's credit. */
  readonly asked = new Set<TaskKind>();
  /** Tasks at workers: task id → kind. */
  readonly tasks = new Map<string, TaskKind>();
  /** Times that a task of a kind was sent. */
  readonly attempts = new Map<TaskKind, number>();
  /** What the checks amount to: it decides what the enricher's headers say. */
  disposition: Deliverable = "deliver";
  readonly #left = Promise.withResolvers<undefined>();
  readonly #mode: Mode<HeldMode>;

  constructor({ mail, holding, validUntilMs }: ClaimedMail) {
    this.mail = mail;
    this.holding = holding;
    this.validUntilMs = validUntilMs;
    this.#mode = new Mode(`held mail ${mail._id}`, modes, "working");
  }

  get mode(): HeldMode {
    return this.#mode.now;
  }

  /** Nothing more is begun with it here. */
  get over(): boolean {
    return !this.#mode.is("working");
  }

  /** Settled once it has left. */
  get left(): Promise<undefined> {
    return this.#left.promise;
  }

  /** Its last write begins. */
  finishing(): void {
    this.#mode.enter("finishing");
  }

  /** Our right to it is over, whatever became of it; may be said again. */
  leave(): void {
    this.#mode.enter("left");
    this.#left.resolve(undefined);
  }

  /** Notes a change to be written with the next write, and makes the record in memory show it. */
  note(change: MailChange): void {
    this.#mode.expect(["working"], "be changed");
    this.pending = merged(this.pending, change);
    this.mail = recordAfter(this.mail, change);
  }
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
