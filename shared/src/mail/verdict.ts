import { z } from "zod";

/** The kinds of task, which are also the kinds of worker. */
export const taskKinds = ["virus", "spam", "enrich"] as const;
export const taskKindSchema = z.enum(taskKinds);
export type TaskKind = z.infer<typeof taskKindSchema>;

/** The two checks: tasks that end in a verdict on the raw mail. */
export const checkKinds = ["virus", "spam"] as const;
export const checkKindSchema = z.enum(checkKinds);
export type CheckKind = z.infer<typeof checkKindSchema>;

/** Reasons for which a check may succeed later on the same mail. */
export const transientReasons = ["engine-away", "engine-error", "time-out", "busy"] as const;
/** Reasons that lie in the mail itself: asking again gives the same answer. */
export const permanentReasons = ["encrypted", "limit", "too-large", "malformed"] as const;

export const uncheckedReasonSchema = z.enum([...transientReasons, ...permanentReasons]);
export type UncheckedReason = z.infer<typeof uncheckedReasonSchema>;

export function isTransient(reason: UncheckedReason): boolean {
  return (transientReasons as readonly string[]).includes(reason);
}

/** Which engine spoke: `clamd 1.4.3` with signatures `27500` of a date, `spamd 4.0.1`, `rspamd 3.4`. */
export const engineSchema = z.looseObject({
  name: z.string().max(64),
  version: z.string().max(128),
  signatureVersion: z.string().max(64).optional(),
  signatureAt: z.date().optional(),
});
export type Engine = z.infer<typeof engineSchema>;

export const spamRuleSchema = z.looseObject({
  name: z.string().max(128),
  score: z.number().optional(),
});
export type SpamRule = z.infer<typeof spamRuleSchema>;

export const uncheckedFindingSchema = z.looseObject({
  kind: z.literal("unchecked"),
  reason: uncheckedReasonSchema,
  /** What the engine said or what happened, for a person. */
  detail: z.string().max(1000).optional(),
});
export type UncheckedFinding = z.infer<typeof uncheckedFindingSchema>;

/** The longest name of what was found; an engine's longer one is cut. */
export const maxNameLength = 256;

export const virusFindingSchema = z.discriminatedUnion("kind", [
  z.looseObject({ kind: z.literal("clean") }),
  z.looseObject({
    kind: z.literal("infected"),
    names: z.array(z.string().max(maxNameLength)).min(1).max(100),
  }),
  uncheckedFindingSchema,
]);
export type VirusFinding = z.infer<typeof virusFindingSchema>;

const proposedFieldSchema = z.looseObject({
  name: z.string().max(76),
  value: z.string().max(900),
});
export type ProposedField = z.infer<typeof proposedFieldSchema>;

const scored = {
  /** The engine's points: each has a scale of its own. */
  score: z.number(),
  /** The points from which the engine itself would call it spam. */
  required: z.number(),
  rules: z.array(spamRuleSchema).max(500),
  /** Header fields that the engine would have added: for a person to see, never written to the mail. */
  proposed: z.array(proposedFieldSchema).max(20).optional(),
  /** What a person should know about it, such as that only the mail's head was judged. */
  detail: z.string().max(1000).optional(),
};
export const spamFindingSchema = z.discriminatedUnion("kind", [
  z.looseObject({ kind: z.literal("ham"), ...scored }),
  z.looseObject({ kind: z.literal("spam"), ...scored }),
  uncheckedFindingSchema,
]);
export type SpamFinding = z.infer<typeof spamFindingSchema>;

/** What every verdict tells beside its finding. */
const circumstances = {
  engine: engineSchema.optional(),
  settingsHash: z.string().max(64),
  /** SHA-256 (hex) of the raw mail that the engine was given. */
  sha256: z.string().length(64),
  worker: z.string().max(128),
  /** Milliseconds from the task's sending to the begin of the work on it. */
  queueMs: z.number().nonnegative(),
  workMs: z.number().nonnegative(),
  at: z.date(),
  /** Kinds of content for which this engine was told to answer `OK` unseen (AV_ALLOW_BLIND). */
  blind: z.array(z.string().max(32)).max(8).optional(),
  /** The part of the same split mail for which the engine was asked, where that was another one. */
  askedFor: z.string().max(64).optional(),
};

/** Finding and circumstances: `{ finding: { kind: "clean" }, engine, … }`. */
export const virusVerdictSchema = z.looseObject({ finding: virusFindingSchema, ...circumstances });
export type VirusVerdict = z.infer<typeof virusVerdictSchema>;

export const spamVerdictSchema = z.looseObject({ finding: spamFindingSchema, ...circumstances });
export type SpamVerdict = z.infer<typeof spamVerdictSchema>;
export type Verdict = VirusVerdict | SpamVerdict;

export const verdictsSchema = z.looseObject({
  virus: virusVerdictSchema.optional(),
  spam: spamVerdictSchema.optional(),
});
export type Verdicts = z.infer<typeof verdictsSchema>;
export type Finding = VirusFinding | SpamFinding;
