import { z } from "zod";
import { maxNameLength, uncheckedFindingSchema } from "./finding.ts";

export const virusSettingsSchema = z.looseObject({});
export type VirusSettings = z.infer<typeof virusSettingsSchema>;

export const virusFindingSchema = z.discriminatedUnion("kind", [
  z.looseObject({ kind: z.literal("clean") }),
  z.looseObject({
    kind: z.literal("infected"),
    names: z.array(z.string().max(maxNameLength)).min(1).max(100),
  }),
  uncheckedFindingSchema,
]);
export type VirusFinding = z.infer<typeof virusFindingSchema>;
