import { z } from "zod";
import { sha256Hex } from "../ids.ts";
import { remembered } from "../remembered.ts";
import { without } from "../without.ts";
import { enrichSettingsSchema, settingsHashOf } from "./task-settings.ts";
import { askedFields } from "../checks/asked.ts";
import { forEachEnd } from "../life/outcomes.ts";
import { routeSchema } from "./route.ts";

/** What a record keeps of its plan itself. */
const originFields = {
  /** The policy documents that made it, most specific first, and the newest revision among them. */
  policyIds: z.array(z.string().max(400)).max(8),
  revision: z.number().int().nonnegative(),
};
/** I10: the mail may become `ready` only with this signature. */
const demandedSignature = z.looseObject({ domain: z.string(), selector: z.string() }).optional();
const onUnknown = z.enum(["resend", "hold"]);

/**
 * The effective policy of one mail, frozen for it: what is asked, in which order, and what follows from
 * the answers. A check that is off is absent.
 */
export const planSchema = z.looseObject({
  ...originFields,
  tenantId: z.string().max(128).optional(),
  direction: z.enum(["incoming", "outgoing"]),
  order: z.enum(["sequential", "parallel"]),
  ...askedFields,
  enrich: z
    .looseObject({ settings: enrichSettingsSchema, settingsHash: z.string().length(32) })
    .optional(),
  demandedSignature,
  route: routeSchema,
  relay: z.looseObject({
    maxQueueMs: z.number().int().positive(),
    /** Milliseconds before attempt 2, 3, …; the last repeats. */
    retryMs: z.array(z.number().int().positive()).min(1).max(50),
    onUnknown,
  }),
  /** How many milliseconds a final record is kept, by state; absent: forever. */
  retentionMs: z.looseObject(forEachEnd(() => z.number().int().positive().optional())),
});
export type Plan = z.infer<typeof planSchema>;
export type Direction = Plan["direction"];

/** In the record: by which plan in `plans` its mail goes, and what must be known even if that cannot be read. */
export const planRefSchema = z.looseObject({
  /** `planHash` of it. */
  hash: z.string().length(32),
  ...originFields,
  demandedSignature,
  onUnknown,
});
export type PlanRef = z.infer<typeof planRefSchema>;

/**
 * What the plan does, whichever documents it came of: what many mails share, without a secret. A private key that the policy itself holds is replaced by its fingerprint: who
 * signs takes it from the policy in force, and another key makes another plan.
 */
export function contentOf(plan: Plan): object {
  const { enrich } = plan;
  const content = without(plan, "policyIds", "revision");
  if (enrich === undefined) return content;
  const changes = enrich.settings.changes.map((change) =>
    change.kind === "sign" ? { ...change, privateKey: withoutSecret(change.privateKey) } : change,
  );
  return { ...content, enrich: { ...enrich, settings: { ...enrich.settings, changes } } };
}

function withoutSecret(privateKey: string): string {
  const isReference = privateKey.startsWith("file:") || privateKey.startsWith("sha256:");
  return isReference ? privateKey : `sha256:${sha256Hex(privateKey).slice(0, 32)}`;
}

/** The same for all plans that do the same: of their content, in a form that does not depend on key order. */
export const planHash = remembered((plan: Plan) => settingsHashOf(contentOf(plan)));

export function planRefOf(plan: Plan): PlanRef {
  const { policyIds, revision, demandedSignature, relay } = plan;
  return {
    hash: planHash(plan),
    policyIds,
    revision,
    ...(demandedSignature !== undefined && { demandedSignature }),
    onUnknown: relay.onUnknown,
  };
}
