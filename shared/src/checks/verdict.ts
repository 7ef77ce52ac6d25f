import { z } from "zod";
import { builtInChecks, builtInNames, type BuiltInCheck } from "./built-in-checks.ts";
import type { Check } from "./check.ts";
import { engineSchema, type UncheckedFinding } from "./finding.ts";
import {
  ownCheckIn,
  ownCheckOf,
  ownCheckSchema,
  type OwnCheck,
  type OwnCheckEntry,
} from "./own-check.ts";

/** What can be asked about a mail and answered by a verdict. */
export type CheckKind = BuiltInCheck | OwnCheck;
export const checkKindSchema = z.union([z.enum(builtInNames), ownCheckSchema]);

/** The kinds of task, which are also the kinds of worker. */
export type TaskKind = CheckKind | "enrich";
export const builtInTasks = [...builtInNames, "enrich"] as const;
export const taskKindSchema = z.union([z.enum(builtInTasks), ownCheckSchema]);

export type EntryOf<N extends CheckKind> = N extends BuiltInCheck
  ? (typeof builtInChecks)[N]
  : OwnCheckEntry;
export type FindingOf<N extends CheckKind> = z.output<EntryOf<N>["finding"]>;
export type SettingsOf<N extends CheckKind> = z.output<EntryOf<N>["settings"]>;
export type Finding = FindingOf<CheckKind>;
/** A finding that is an engine's word on the mail. */
export type Answered = Exclude<Finding, UncheckedFinding>;

/** What every verdict tells besides its finding. */
const circumstances = z.looseObject({
  engine: engineSchema.optional(),
  settingsHash: z.string().max(64),
  /** SHA-256 (hex) of the raw mail that the engine was given. */
  sha256: z.string().length(64),
  worker: z.string().max(128),
  /** Milliseconds from the task's arrival at the worker until work on it begins. */
  queueMs: z.number().nonnegative(),
  workMs: z.number().nonnegative(),
  at: z.date(),
  /** Kinds of content for which this engine was told to answer `OK` unseen (AV_ALLOW_BLIND). */
  blind: z.array(z.string().max(32)).max(8).optional(),
  /** If the engine was asked for another part of the same split mail: that part. */
  askedFor: z.string().max(64).optional(),
});

/** Finding and circumstances: `{ finding: { kind: "clean" }, engine, … }`. */
export type VerdictOf<N extends CheckKind> = z.output<typeof circumstances> & {
  finding: FindingOf<N>;
};
export type Verdict = VerdictOf<CheckKind>;
export type Verdicts = { [N in CheckKind]?: VerdictOf<N> | undefined };

function verdictSchemaOf({ finding }: AnyCheck) {
  return z.looseObject({ finding, ...circumstances.shape });
}

/** Anything not built in must be the verdict of a check that a policy brought. */
export const verdictsSchema = z
  .object(ofEach((check) => verdictSchemaOf(check).optional()))
  .catchall(verdictSchemaOf(ownCheckOf("own" as OwnCheck))) as unknown as z.ZodType<
  Verdicts,
  Verdicts
>;

/** A check, for code that does not care which one it is. */
export type AnyCheck = Check<Answered, object, object, object>;

/** Makes one thing for each built-in check. */
export function ofEach<T>(make: (check: AnyCheck) => T): Record<BuiltInCheck, T> {
  const entries = builtInNames.map((name) => [name, make(checkOf(name))]);
  return Object.fromEntries(entries) as Record<BuiltInCheck, T>;
}

export function checkOf(name: CheckKind): AnyCheck {
  return isBuiltIn(name) ? builtInChecks[name] : ownCheckOf(name);
}

export function isBuiltIn(name: string): name is BuiltInCheck {
  return Object.hasOwn(builtInChecks, name);
}

/** The checks that have a verdict, in order. */
export function answeredIn(verdicts: Verdicts): CheckKind[] {
  const own = Object.keys(verdicts).flatMap((name) => ownCheckIn(name) ?? []);
  return [...builtInNames, ...own.sort()].filter((name) => verdicts[name] !== undefined);
}

/** What was found, if an engine has spoken. */
export function answerIn(finding: Finding | undefined): Answered | undefined {
  return finding === undefined || finding.kind === "unchecked" ? undefined : finding;
}

/**
 * How a finding is named in an override: `infected: Eicar-Signature`, `spam`, `found: card-number`,
 * `unchecked: encrypted`.
 */
export function findingText(name: CheckKind, finding: Finding): string {
  if (finding.kind === "unchecked") return `unchecked: ${finding.reason}`;
  return checkOf(name).nameOf(finding);
}
