import { z } from "zod";
import { changeKinds, fieldBodySchema, fieldNameSchema } from "../mail/task-settings.ts";
import { spamEngines } from "../checks/spam.ts";
import { checkKinds } from "../checks/verdict.ts";
import { permanentReasons, transientReasons } from "../checks/finding.ts";
import { uncheckedReasonSchema } from "../checks/finding.ts";
import { dispositionSchema } from "../mail/plan.ts";
import { forEachEnd } from "../life/outcomes.ts";
import { durationSchema } from "./duration.ts";
import { nextHopSchema } from "./next-hop.ts";

/**
 * The rules of one policy document: everything optional, merged over the more general documents.
 * The form is the same in YAML and in the database, so a person reads there what was written.
 */

/** An object whose unknown keys are errors that name the known ones. */
export function section<S extends z.ZodRawShape>(shape: S, orWord = "") {
  const known = Object.keys(shape).join(", ");
  return z.strictObject(shape, {
    error: (issue) =>
      issue.code === "unrecognized_keys"
        ? `unknown key ${issue.keys.join(", ")}; known here: ${known}`
        : `must be ${orWord}a section with ${known}`,
  });
}

const switchWords = new Map<unknown, boolean>([
  ["on", true],
  ["off", false],
]);

/** `on`, `off` (which YAML 1.2 reads as text), `true` or `false`. */
const switchSchema = z.preprocess(
  (value) => switchWords.get(value) ?? value,
  z.boolean({ error: "must be on or off" }),
);

/** A section that can be switched by one word: `geoip: off` is `geoip: { enabled: off }`. */
function switched<S extends z.ZodRawShape>(shape: S) {
  return z.preprocess(
    (value) => {
      const isSwitch = typeof value === "boolean" || switchWords.has(value);
      return isSwitch ? { enabled: value } : value;
    },
    section({ enabled: switchSchema.optional(), ...shape }, "on, off or "),
  );
}

/** A change is on where its settings are stated, unless the same section says `enabled: off`. */
function change<S extends z.ZodRawShape>(shape: S) {
  return z.preprocess((value) => {
    const isStated = typeof value === "object" && value !== null && Object.keys(value).length > 0;
    return isStated && !("enabled" in value) ? { enabled: true, ...value } : value;
  }, switched(shape));
}

/** Bytes, as a number or as `500k`, `20M`. */
const sizeSchema = z.union([z.number().int().positive(), z.string().regex(/^[1-9]\d{0,8}[kM]?$/)], {
  error: "must be a size in bytes, or one such as 500k or 20M",
});

const uncheckedActions = ["wait", "pass", "quarantine"] as const;

/** One word, or `{ action: wait, for: 4h, then: quarantine }`. */
const uncheckedRuleSchema = z.preprocess(
  (value) => (typeof value === "string" ? { action: value } : value),
  section({
    action: z.enum(uncheckedActions).optional(),
    for: durationSchema.optional(),
    then: z.enum(["pass", "quarantine"]).optional(),
  }),
);

/** `transient` and `permanent` stand for all reasons of their kind that are not stated themselves. */
const reasonGroups = new Map<string, readonly string[]>([
  ["transient", transientReasons],
  ["permanent", permanentReasons],
]);

/** The word that may stand for this reason in a policy. */
export function reasonGroupOf(reason: string): string | undefined {
  return [...reasonGroups].find(([, reasons]) => reasons.includes(reason))?.[0];
}

function spreadReasonGroups(value: unknown): unknown {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return value;
  const stated = Object.entries(value);
  const spread = stated.flatMap(([key, rule]) =>
    (reasonGroups.get(key) ?? []).map((reason) => [reason, rule] as const),
  );
  return Object.fromEntries([...spread, ...stated.filter(([key]) => !reasonGroups.has(key))]);
}

const uncheckedSchema = z.preprocess(
  spreadReasonGroups,
  section(
    Object.fromEntries(
      uncheckedReasonSchema.options.map((reason) => [reason, uncheckedRuleSchema.optional()]),
    ) as Record<
      (typeof uncheckedReasonSchema.options)[number],
      z.ZodOptional<typeof uncheckedRuleSchema>
    >,
  ),
);

const virusSchema = switched({
  /** An infected mail leaves by a person's release only, so `deliver` and `tag` are no choice. */
  onInfected: z.enum(["quarantine", "reject", "discard", "hold"]).optional(),
  unchecked: uncheckedSchema.optional(),
});

const pointsSchema = z.number({ error: "must be a number of points" });

const spamSchema = switched({
  threshold: pointsSchema.optional(),
  onSpam: dispositionSchema.optional(),
  highThreshold: pointsSchema.optional(),
  onHighSpam: dispositionSchema.optional(),
  engine: z.enum(spamEngines, { error: `must be ${spamEngines.join(" or ")}` }).optional(),
  user: z.string().min(1).max(256).optional(),
  maxBytes: sizeSchema.optional(),
  oversize: z.enum(["unchecked", "head"]).optional(),
  unchecked: uncheckedSchema.optional(),
});

/** Fields that a mail may have once (RFC 5322 section 3.6), or that belong to other steps. */
const reservedFields =
  /^(from|sender|reply-to|to|cc|bcc|date|message-id|in-reply-to|references|subject|received|return-path|mime-version|content-.*|dkim-signature|arc-.*|authentication-results)$/i;

const extraFieldNameSchema = fieldNameSchema.refine((name) => !reservedFields.test(name), {
  error: "is a field that belongs to the mail itself; use a name of your own, such as X-…",
});

const addressOrDomainSchema = z
  .string()
  .max(320)
  .regex(/^[^\s@]*@[^\s@]+$/, { error: "must be user@domain or @domain" });
const addressSchema = z
  .string()
  .max(320)
  .regex(/^[^\s@<>]+@[^\s@<>]+$/, { error: "must be user@domain" });

const changesSchema = section({
  strip: change({}).optional(),
  "verdict-headers": change({}).optional(),
  "extra-headers": change({
    headers: z.record(extraFieldNameSchema, fieldBodySchema).optional(),
  }).optional(),
  geoip: change({}).optional(),
  "subject-tag": change({ tag: fieldBodySchema.min(1).max(64).optional() }).optional(),
  "sender-rewrite": change({
    map: z.record(addressOrDomainSchema, addressSchema).optional(),
  }).optional(),
  disclaimer: change({
    text: z.string().min(1).max(20_000).optional(),
    html: z.string().max(100_000).optional(),
  }).optional(),
  sign: change({}).optional(),
});

/** Every name that a `steps` list may hold. */
export const stepNames = [...checkKinds, ...changeKinds] as const;
export type StepName = (typeof stepNames)[number];

const routeRulesSchema = section({
  nextHop: nextHopSchema.optional(),
  protocol: z.enum(["smtp", "lmtp"]).optional(),
  sourceAddress: z.union([z.ipv4(), z.ipv6()], { error: "must be an IP address" }).optional(),
  helo: z.string().min(1).max(255).optional(),
  tls: z.enum(["none", "opportunistic", "required"]).optional(),
  credential: z
    .string()
    .regex(/^[\w.-]{1,128}$/, {
      error: "must be the name of a folder in the relay's secrets folder",
    })
    .optional(),
});

const keepSchema = z.union([z.literal("never"), durationSchema], {
  error: "must be a duration such as 7d or 30d, or never (kept for ever)",
});

const oneDirection = {
  virus: virusSchema.optional(),
  spam: spamSchema.optional(),
  order: z.enum(["sequential", "parallel"]).optional(),
  changes: changesSchema.optional(),
  /** The order of all steps that are on; without it the order of I5's list. */
  steps: z.array(z.enum(stepNames)).max(stepNames.length).optional(),
  route: routeRulesSchema.optional(),
  relay: section({
    maxQueueTime: durationSchema.optional(),
    retry: z.array(durationSchema).min(1).max(50).optional(),
    onUnknown: z.enum(["resend", "hold"]).optional(),
  }).optional(),
  retention: section(forEachEnd(() => keepSchema.optional())).optional(),
};

const directionRulesSchema = section(oneDirection);
export type DirectionRules = z.output<typeof directionRulesSchema>;

/** Rules for both directions, and what differs in one of them. */
export const policyRulesSchema = section({
  ...oneDirection,
  incoming: directionRulesSchema.optional(),
  outgoing: directionRulesSchema.optional(),
});
export type PolicyRules = z.output<typeof policyRulesSchema>;

/** Bytes of a size that fits the schema. */
export function sizeBytes(size: number | string): number {
  if (typeof size === "number") return size;
  const factor = size.endsWith("k") ? 1024 : size.endsWith("M") ? 1024 * 1024 : 1;
  return Number.parseInt(size, 10) * factor;
}
