import { z } from "zod";
import { uncheckedFindingSchema } from "./finding.ts";

/** The spam engines that there are workers for, by the name that they announce. */
export const spamEngines = ["spamd", "rspamd"] as const;
export const spamEngineSchema = z.enum(spamEngines);
export type SpamEngineName = z.infer<typeof spamEngineSchema>;

export const spamSettingsSchema = z.looseObject({
  /** Only a worker with this engine may have the task. Absent: any. */
  engine: spamEngineSchema.optional(),
  /** Whose rules and Bayes tokens apply (spamd's `User`, rspamd's `Deliver-To`). Absent: the engine's default. */
  user: z.string().max(256).optional(),
  /** Bytes; larger mail is not given to the engine whole. */
  maxBytes: z.number().int().positive(),
  /** What happens with larger mail: `unchecked: too-large`, or its first `maxBytes` are scanned. */
  oversize: z.enum(["unchecked", "head"]),
});
export type SpamSettings = z.infer<typeof spamSettingsSchema>;

export const spamRuleSchema = z.looseObject({
  name: z.string().max(128),
  score: z.number().optional(),
});
export type SpamRule = z.infer<typeof spamRuleSchema>;

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
