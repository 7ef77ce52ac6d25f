import { z } from "zod";
import { enrichSettingsSchema } from "./task-settings.ts";
import { askedFields } from "../checks/asked.ts";
import { forEachEnd } from "../life/outcomes.ts";
import { routeSchema } from "./route.ts";

/**
 * The effective policy of one mail, frozen into it as a whole: what is asked, in which order, and
 * what follows from the answers. A check that is off is absent.
 */
export const planSchema = z.looseObject({
  /** The policy documents that made it, most specific first, and the newest revision among them. */
  policyIds: z.array(z.string().max(400)).max(8),
  revision: z.number().int().nonnegative(),
  tenantId: z.string().max(128).optional(),
  direction: z.enum(["incoming", "outgoing"]),
  order: z.enum(["sequential", "parallel"]),
  ...askedFields,
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
  /** How many milliseconds a final record is kept, by state; absent: forever. */
  retentionMs: z.looseObject(forEachEnd(() => z.number().int().positive().optional())),
});
export type Plan = z.infer<typeof planSchema>;
export type Direction = Plan["direction"];
