import { z } from "zod";
import { cutText } from "../cut-text.ts";

/** Reasons that may pass: the check may succeed later on the same mail. */
export const transientReasons = ["engine-away", "engine-error", "time-out", "busy"] as const;
/** Reasons in the mail itself: asking again gives the same answer. */
export const permanentReasons = ["encrypted", "limit", "too-large", "malformed"] as const;

export const uncheckedReasonSchema = z.enum([...transientReasons, ...permanentReasons]);
export type UncheckedReason = z.infer<typeof uncheckedReasonSchema>;

export function isTransient(reason: UncheckedReason): boolean {
  return (transientReasons as readonly string[]).includes(reason);
}

/**
 * Which engine spoke: `clamd 1.4.3` with signatures `27500` and their date, `spamd 4.0.1`, `rspamd
 * 3.4`.
 */
export const engineSchema = z.looseObject({
  name: z.string().max(64),
  version: z.string().max(128),
  signatureVersion: z.string().max(64).optional(),
  signatureAt: z.date().optional(),
});
export type Engine = z.infer<typeof engineSchema>;

const maxDetailLength = 1000;

export const uncheckedFindingSchema = z.looseObject({
  kind: z.literal("unchecked"),
  reason: uncheckedReasonSchema,
  /** What the engine said or what happened, for a person. */
  detail: z.string().max(maxDetailLength).optional(),
});
export type UncheckedFinding = z.infer<typeof uncheckedFindingSchema>;

export function unchecked(reason: UncheckedReason, detail: string): UncheckedFinding {
  return { kind: "unchecked", reason, detail: cutText(detail, maxDetailLength) };
}

/** The longest name of what was found; an engine's longer one is cut. */
export const maxNameLength = 256;
