import { z } from "zod";
import { engineSchema } from "./finding.ts";
import { spamFindingSchema, type SpamFinding } from "./spam.ts";
import { virusFindingSchema, type VirusFinding } from "./virus.ts";

/** The kinds of task, which are also the kinds of worker. */
export const taskKinds = ["virus", "spam", "enrich"] as const;
export const taskKindSchema = z.enum(taskKinds);
export type TaskKind = z.infer<typeof taskKindSchema>;

/** The two checks: tasks that end in a verdict on the raw mail. */
export const checkKinds = ["virus", "spam"] as const;
export const checkKindSchema = z.enum(checkKinds);
export type CheckKind = z.infer<typeof checkKindSchema>;

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
