import type { EnrichOutput, EnrichTask } from "@rs-agent/shared/bus/wire.ts";
import type { HeaderBlock } from "@rs-agent/shared/mail/header-block.ts";
import type { Change, ChangeKind } from "@rs-agent/shared/mail/task-settings.ts";
import type { Countries } from "../countries.ts";

/** One mail while its changes are made, one after another. */
export interface MailUnderChange {
  header: HeaderBlock;
  /** What follows the header: a view of the raw mail until a change of the body replaces it. */
  rest: Buffer;
  bodyChanged: boolean;
  /** The new SMTP sender, once a change has set one. */
  mailFrom?: string;
  /** The signature that was made and verified. */
  signature?: { domain: string; selector: string };
  /** What was skipped and why, for `explain`. */
  readonly notes: string[];
}

/** What a change may know besides the mail and its own settings. */
export interface ChangeContext {
  readonly task: EnrichTask;
  /** The names under which systems of this site write Authentication-Results (RFC 8601 §2.5). */
  readonly authservIds: readonly string[];
  readonly countries: Countries;
  readonly now: () => Date;
  /** Aborts at the task's deadline and at close. */
  readonly signal: AbortSignal;
}

/** Policy demands this change but it cannot be made: the mail is held, not sent without it. */
export type Unable = Extract<EnrichOutput, { kind: "unable" }>;

export type ChangeOf<K extends ChangeKind> = Extract<Change, { kind: K }>;

/**
 * Makes one change to the mail. A change that does not apply to this mail says so in `notes`, or
 * returns `Unable` if the mail must not leave without it; what it throws is a bug or an abort.
 */
export type ApplyChange<K extends ChangeKind> = (
  mail: MailUnderChange,
  change: ChangeOf<K>,
  context: ChangeContext,
) => Unable | undefined | Promise<Unable | undefined>;

export function unable(reason: string): Unable {
  return { kind: "unable", reason: reason.slice(0, 1000) };
}

/** The mail itself rules the change out for good: a person must act. */
export function neverAble(reason: string): Unable {
  return { ...unable(reason), permanent: true };
}
