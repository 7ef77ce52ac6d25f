import type { MailRecord } from "../mail/record.ts";
import type { CheckKind, Verdict } from "../checks/verdict.ts";
import type { HistoryEntry } from "./events.ts";

/** What only the step brings that reads a source's record. */
type BroughtField = "origin" | "smtp" | "receivedAt" | "body" | "header";

/** The fields that a step of a mail's life may set; all others stay as the mail came. */
export type ChangedField =
  | "state"
  | "next"
  | "dueAt"
  | "lease"
  | "recipients"
  | "queuedAt"
  | "direction"
  | "tenantId"
  | "plan"
  | "route"
  | "groups"
  | "uncheckedSince"
  | "disposition"
  | "enriched"
  | "overrides"
  | "unknown"
  | "strikes"
  | "unbegun"
  | "reason"
  | "heldUntil"
  | "finalAt"
  | "expireAt"
  | BroughtField;

/** Fields that a step may end: with them those that the store counts claims by. */
export type EndedField =
  | Exclude<ChangedField, "state" | "lease" | "recipients" | BroughtField>
  | "claims"
  | "unended"
  | "alone";

export type SetFields = { readonly [F in ChangedField]?: NonNullable<MailRecord[F]> };
type Timings = NonNullable<MailRecord["timings"]>;

/** One change of a mail's record, as every step of its life gives it and the store writes it. */
export interface MailChange {
  readonly set?: SetFields;
  readonly unset?: readonly EndedField[];
  /** Verdicts of these checks; those of the others stay. */
  readonly verdicts?: { readonly [C in CheckKind]?: Verdict };
  /** Times of these steps; those of the others stay. */
  readonly timings?: { readonly [S in keyof Timings]?: NonNullable<Timings[S]> };
  /** Appended to the history, of which the newest `maxHistory` entries are kept. */
  readonly history?: readonly HistoryEntry[];
  /** Gives up the lease with this write. Without it `dueAt` stays the lease's end. */
  readonly releaseLease?: boolean;
  /** With `releaseLease`: nothing came of this claim, for the mail or against it. It is as if never made. */
  readonly untried?: boolean;
}

/** One change that has the effect of both, the later one winning. */
export function merged(first: MailChange | undefined, then: MailChange): MailChange {
  if (first === undefined) return then;
  const gone = new Set<string>(then.unset);
  const kept = Object.entries(first.set ?? {}).filter(([field]) => !gone.has(field));
  const set: SetFields = { ...Object.fromEntries(kept), ...then.set };
  const unset = [...(first.unset ?? []), ...(then.unset ?? [])].filter((field) => !(field in set));
  return {
    set,
    unset: [...new Set(unset)],
    ...together("verdicts", first.verdicts, then.verdicts),
    ...together("timings", first.timings, then.timings),
    history: [...(first.history ?? []), ...(then.history ?? [])],
    releaseLease: first.releaseLease === true || then.releaseLease === true,
    untried: first.untried === true || then.untried === true,
  };
}

function together<K extends "verdicts" | "timings">(
  name: K,
  first: MailChange[K],
  then: MailChange[K],
): Pick<MailChange, K> | object {
  return first === undefined && then === undefined ? {} : { [name]: { ...first, ...then } };
}
