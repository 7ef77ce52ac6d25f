import { z } from "zod";
import { enrichSettingsSchema } from "./task-settings.ts";
import { spamSettingsSchema } from "../checks/spam.ts";
import { virusSettingsSchema } from "../checks/virus.ts";
import { uncheckedReasonSchema } from "../checks/finding.ts";
import { forEachEnd } from "../life/outcomes.ts";
import { routeSchema } from "./route.ts";

/** What becomes of a mail with a finding. `pass` lets it go on, marked. */
export const dispositionSchema = z.enum([
  "deliver",
  "tag",
  "quarantine",
  "reject",
  "discard",
  "hold",
]);
export type Disposition = z.infer<typeof dispositionSchema>;

/** What `unchecked` does, for one reason. */
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

const check = {
  settingsHash: z.string().length(32),
  unchecked: uncheckedRulesSchema,
};

/**
 * The effective policy of one mail, frozen into it whole: what is asked, in which order, and what
 * follows from the answers. A check that is off is absent.
 */
export const planSchema = z.looseObject({
  /** The policy documents that made it, most special first, and the newest revision among them. */
  policyIds: z.array(z.string().max(400)).max(8),
  revision: z.number().int().nonnegative(),
  tenantId: z.string().max(128).optional(),
  direction: z.enum(["incoming", "outgoing"]),
  order: z.enum(["sequential", "parallel"]),
  virus: z
    .looseObject({ ...check, settings: virusSettingsSchema, onInfected: dispositionSchema })
    .optional(),
  spam: z
    .looseObject({
      ...check,
      settings: spamSettingsSchema,
      /** Points from which the mail counts as spam; spamd's own `required` does not decide. */
      threshold: z.number(),
      onSpam: dispositionSchema,
      /** Points from which `onHighSpam` applies instead of `onSpam`. */
      highThreshold: z.number().optional(),
      onHighSpam: dispositionSchema.optional(),
    })
    .optional(),
  enrich: z
    .looseObject({ settings: enrichSettingsSchema, settingsHash: z.string().length(32) })
    .optional(),
  /** I10: the mail may become `ready` only with this signature. */
  demandedSignature: z.looseObject({ domain: z.string(), selector: z.string() }).optional(),
  route: routeSchema,
  relay: z.looseObject({
    maxQueueMs: z.number().int().positive(),
    /** Milliseconds before attempt 2, 3, …; the last repeats. */
    retryMs: z.array(z.number().int().positive()).min(1).max(50),
    onUnknown: z.enum(["resend", "hold"]),
  }),
  /** Milliseconds that a final record is kept, by state; absent: for ever. */
  retentionMs: z.looseObject(forEachEnd(() => z.number().int().positive().optional())),
});
export type Plan = z.infer<typeof planSchema>;
export type Direction = Plan["direction"];
