import { z } from "zod";
import {
  changeKinds,
  fieldBodySchema,
  fieldNameSchema,
  type ChangeKind,
} from "../mail/task-settings.ts";
import { uncheckedReasonSchema, permanentReasons, transientReasons } from "../checks/finding.ts";
import { ownCheckOf, ownCheckSchema, type OwnCheck } from "../checks/own-check.ts";
import { builtInNames, type BuiltInCheck } from "../checks/built-in-checks.ts";
import { ofEach, type AnyCheck, type CheckKind, type EntryOf } from "../checks/verdict.ts";
import { durationSchema } from "../duration.ts";
import { forEachEnd } from "../life/outcomes.ts";
import { nextHopSchema } from "./next-hop.ts";

/**
 * The rules of one policy document: everything is optional, and laid over the more general
 * documents. The form is the same in YAML and in the database, so a person finds there what was
 * written.
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

/** `on`, `off` (text in YAML 1.2), `true` or `false`. */
const switchSchema = z.preprocess(
  (value) => switchWords.get(value) ?? value,
  z.boolean({ error: "must be on or off" }),
);

/** A section that one word can switch: `geoip: off` is `geoip: { enabled: off }`. */
function switched<S extends z.ZodRawShape>(shape: S) {
  return z.preprocess(
    (value) => {
      const isSwitch = typeof value === "boolean" || switchWords.has(value);
      return isSwitch ? { enabled: value } : value;
    },
    section({ enabled: switchSchema.optional(), ...shape }, "on, off or "),
  );
}

/** A change is on if its settings are given, unless the same section says `enabled: off`. */
function change<S extends z.ZodRawShape>(shape: S) {
  return z.preprocess((value) => {
    const isStated = typeof value === "object" && value !== null && Object.keys(value).length > 0;
    return isStated && !("enabled" in value) ? { enabled: true, ...value } : value;
  }, switched(shape));
}

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

/** `transient` and `permanent` stand for all reasons of that kind that are not given themselves. */
const reasonGroups = new Map<string, readonly string[]>([
  ["transient", transientReasons],
  ["permanent", permanentReasons],
]);

/** The word that can stand for this reason in a policy. */
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

type SectionOf<N extends CheckKind> = {
  enabled?: boolean | undefined;
  unchecked?: z.output<typeof uncheckedSchema> | undefined;
} & { [K in keyof EntryOf<N>["rules"]]?: z.output<EntryOf<N>["rules"][K]> };

function sectionOf<N extends CheckKind>({ rules }: Pick<AnyCheck, "rules">) {
  const form: unknown = switched({ ...rules, unchecked: uncheckedSchema.optional() });
  return form as z.ZodType<SectionOf<N>>;
}

const builtInSections = ofEach((check) => sectionOf(check).optional()) as unknown as {
  [N in BuiltInCheck]: z.ZodOptional<z.ZodType<SectionOf<N>>>;
};

/** The policy's own checks. */
const ownSections = z
  .partialRecord(ownCheckSchema, sectionOf<OwnCheck>(ownCheckOf("own" as OwnCheck)), {
    error: "must be a list of checks of your own with rules under each",
  })
  .superRefine((sections, context) => {
    for (const [name, section] of Object.entries(sections)) {
      const worker = section?.worker;
      if (worker === undefined || worker === name) continue;
      const message = `must be ${name}: the workers of a check have its name`;
      context.addIssue({ code: "custom", path: [name, "worker"], message });
    }
  });

/** Fields that a mail may have only once (RFC 5322 §3.6), or that belong to other steps. */
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

const builtInSteps = [...builtInNames, ...changeKinds] as const;
/** What a `steps` list may hold: built-in checks and changes, and the policy's own checks. */
export type StepName = CheckKind | ChangeKind;
const stepSchema = z.union([z.enum(builtInSteps), ownCheckSchema], {
  error: `must be ${builtInSteps.join(", ")} or the name of a check of your own`,
});
const maxSteps = 100;

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
  error: "must be a duration such as 7d or 30d, or never (kept forever)",
});

const oneDirection = {
  ...builtInSections,
  checks: ownSections.optional(),
  order: z.enum(["sequential", "parallel"]).optional(),
  changes: changesSchema.optional(),
  /** The order of all steps that are on; without it, the order of I5. */
  steps: z.array(stepSchema).max(maxSteps).optional(),
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
