import { z } from "zod";
import { durationMs } from "../duration.ts";
import {
  permanentReasons,
  transientReasons,
  uncheckedReasonSchema,
  type UncheckedReason,
} from "./finding.ts";

/** What becomes of a mail with a finding; `tag` lets it go on, marked. */
export const dispositionSchema = z.enum([
  "deliver",
  "tag",
  "quarantine",
  "reject",
  "discard",
  "hold",
]);
export type Disposition = z.infer<typeof dispositionSchema>;

/** In a plan: what happens to an `unchecked` mail, for one reason. */
export const uncheckedRuleSchema = z.strictObject({
  action: z.enum(["wait", "pass", "quarantine"]),
  /** For `wait`: milliseconds until `then` applies, counted from the first failure. */
  waitMs: z.number().int().nonnegative().optional(),
  /** For `wait`: what follows. Default `quarantine`. */
  then: z.enum(["pass", "quarantine"]).optional(),
});
export type UncheckedRule = z.infer<typeof uncheckedRuleSchema>;

export const uncheckedRulesSchema = z.record(uncheckedReasonSchema, uncheckedRuleSchema);
export type UncheckedRules = z.infer<typeof uncheckedRulesSchema>;

/** The same as a policy states it, with every reason present. */
export type UncheckedChoices = Record<
  UncheckedReason,
  { action: "wait" | "pass" | "quarantine"; for?: string; then?: "pass" | "quarantine" }
>;

/** What holds if no policy says otherwise: transient reasons wait 4 h and then quarantine. */
export function builtInUnchecked(permanent: "pass" | "quarantine"): UncheckedChoices {
  const wait = { action: "wait", for: "4h", then: "quarantine" } as const;
  return Object.fromEntries([
    ...transientReasons.map((reason) => [reason, wait] as const),
    ...permanentReasons.map((reason) => [reason, { action: permanent }] as const),
  ]) as UncheckedChoices;
}

export function uncheckedOf(choices: UncheckedChoices): UncheckedRules {
  const compile = (reason: UncheckedReason): UncheckedRule => {
    const { action, for: span = "4h", then = "quarantine" } = choices[reason];
    return action === "wait" ? { action, waitMs: durationMs(span), then } : { action };
  };
  const entries = uncheckedReasonSchema.options.map((reason) => [reason, compile(reason)] as const);
  return Object.fromEntries(entries) as UncheckedRules;
}
