import { z } from "zod";
import { uncheckedRulesSchema, type UncheckedRules } from "./consequence.ts";
import { ownCheckOf, ownCheckSchema, type OwnCheck } from "./own-check.ts";
import { builtInNames, type BuiltInCheck } from "./built-in-checks.ts";
import {
  answeredIn,
  answerIn,
  checkOf,
  isBuiltIn,
  ofEach,
  type AnyCheck,
  type CheckKind,
  type EntryOf,
  type Finding,
  type SettingsOf,
  type TaskKind,
  type Verdicts,
} from "./verdict.ts";

type ConsequencesOf<N extends CheckKind> = Parameters<EntryOf<N>["rulesText"]>[0];
/** What a plan says about one check: what is asked, and what follows. */
export type AskedOf<N extends CheckKind> = {
  settings: SettingsOf<N>;
  settingsHash: string;
  unchecked: UncheckedRules;
} & ConsequencesOf<N>;
export type Asked = AskedOf<CheckKind>;

function askedSchemaOf({ settings, consequences }: AnyCheck) {
  const common = { settingsHash: z.string().length(32), unchecked: uncheckedRulesSchema };
  return z.looseObject({ ...common, settings, ...consequences });
}

/** The checks of a plan. One that is off is absent. */
export type AskedChecks = { [N in BuiltInCheck]?: AskedOf<N> | undefined } & {
  checks?: { [N in OwnCheck]?: AskedOf<OwnCheck> } | undefined;
};

/** The fields of a plan that hold its checks. */
export const askedFields = {
  ...ofEach((check) => askedSchemaOf(check).optional()),
  checks: z.partialRecord(ownCheckSchema, askedSchemaOf(ownCheckOf("own" as OwnCheck))).optional(),
} as unknown as {
  [F in keyof AskedChecks]-?: z.ZodOptional<z.ZodType<NonNullable<AskedChecks[F]>>>;
};

/** What a plan asks of one check; undefined if the check is off. */
export function askedIn(plan: AskedChecks | undefined, name: CheckKind): Asked | undefined {
  return isBuiltIn(name) ? plan?.[name] : plan?.checks?.[name];
}

/** What a plan asks of one task; undefined if nothing. */
export function taskIn<E extends { settings: object; settingsHash: string }>(
  plan: (AskedChecks & { enrich?: E | undefined }) | undefined,
  kind: TaskKind,
): Asked | E | undefined {
  return kind === "enrich" ? plan?.enrich : askedIn(plan, kind);
}

/** All checks for a mail: built in, asked for, or answered. */
export function checksOf(mail: {
  verdicts: Verdicts;
  plan?: AskedChecks | undefined;
}): CheckKind[] {
  const own = [...ownChecksIn(mail.plan), ...answeredIn(mail.verdicts)];
  return [...builtInNames, ...new Set(own.filter((name) => !isBuiltIn(name)).sort())];
}

/** The checks that a plan asks for, in their order. */
export function checksIn(plan: AskedChecks | undefined): CheckKind[] {
  return [...builtInNames.filter((name) => plan?.[name] !== undefined), ...ownChecksIn(plan)];
}

/** Those that a policy brought, sorted by name. */
export function ownChecksIn(
  plan: { checks?: { [N in OwnCheck]?: unknown } | undefined } | undefined,
): OwnCheck[] {
  return (Object.keys(plan?.checks ?? {}) as OwnCheck[]).sort();
}

/**
 * Whether an engine found something, by what the plan says; if the plan does not ask for the check,
 * by the engine's own word.
 */
export function isFinding(
  name: CheckKind,
  finding: Finding | undefined,
  plan: AskedChecks | undefined,
): boolean {
  const found = answerIn(finding);
  return found !== undefined && checkOf(name).isFinding(found, askedIn(plan, name));
}

/**
 * Whether a finding stands against the mail: of a check that its policy asked for, or that outlives
 * the policy.
 */
export function hasFinding(mail: { verdicts: Verdicts; plan?: AskedChecks | undefined }): boolean {
  const { verdicts, plan } = mail;
  return answeredIn(verdicts).some((name) => {
    const counts = askedIn(plan, name) !== undefined || checkOf(name).outlivesPolicy === true;
    return counts && isFinding(name, verdicts[name]?.finding, plan);
  });
}
