import { ownCheckOf, type OwnCheck } from "../checks/own-check.ts";
import type { BuiltInCheck } from "../checks/built-in-checks.ts";
import type { EntryOf } from "../checks/verdict.ts";
import type { FinalOutcome } from "../life/outcomes.ts";
import { remembered } from "../remembered.ts";
import type { PolicyRules, StepName } from "./rules.ts";
import type { Direction } from "../mail/plan.ts";

/** The rules of the built-in checks. */
export type BuiltInRules = { [N in BuiltInCheck]: EntryOf<N>["builtIn"] };

/** Rules after every layer was laid over the built-in ones: nothing that a plan needs is absent. */
export interface CompleteRules extends BuiltInRules {
  /** The policies' own checks. */
  checks: { [N in OwnCheck]?: EntryOf<OwnCheck>["builtIn"] };
  order: "sequential" | "parallel";
  changes: {
    strip: { enabled: boolean };
    "verdict-headers": { enabled: boolean };
    "extra-headers": { enabled: boolean; headers: Record<string, string> };
    geoip: { enabled: boolean };
    "subject-tag": { enabled: boolean; tag: string };
    "sender-rewrite": { enabled: boolean; map: Record<string, string> };
    disclaimer: { enabled: boolean; text: string; html?: string };
    sign: { enabled: boolean };
  };
  steps?: readonly StepName[];
  route: {
    nextHop: string;
    protocol: "smtp" | "lmtp";
    sourceAddress?: string;
    helo?: string;
    tls: "none" | "opportunistic" | "required";
    credential?: string;
  };
  relay: { maxQueueTime: string; retry: readonly string[]; onUnknown: "resend" | "hold" };
  retention: Record<FinalOutcome, string>;
}

/** The built-in rules with documents laid over them. An own check has only what documents say. */
export type LayeredRules = Omit<CompleteRules, "checks"> & Required<Pick<PolicyRules, "checks">>;

/**
 * Lays one document's rules over those of the documents before it, and rules for one direction over
 * rules for both. Objects are merged key by key; lists and single values are replaced. What the
 * document does not touch stays the same object.
 */
export function laidOver(
  under: LayeredRules,
  { incoming, outgoing, ...both }: PolicyRules,
  direction: Direction,
): LayeredRules {
  // The schema of the layers allows only what LayeredRules has, and the lowest one is complete.
  return merge(merge(under, both), direction === "incoming" ? incoming : outgoing) as LayeredRules;
}

/** The rules with the built-in ones for own checks. */
export function completed(rules: LayeredRules): CompleteRules {
  return { ...rules, checks: ownCompleted(rules.checks ?? {}) };
}

const ownCompleted = remembered(
  (checks: NonNullable<PolicyRules["checks"]>) =>
    Object.fromEntries(
      Object.entries(checks).map(([name, rules]) => [
        name,
        merge(ownCheckOf(name as OwnCheck).builtIn, rules),
      ]),
    ) as CompleteRules["checks"],
);

function merge(under: unknown, over: unknown): unknown {
  if (over === undefined) return under;
  if (!isObject(under) || !isObject(over)) return over;
  const keys = Object.keys(over);
  if (keys.length === 0) return under;
  // Spread, because assigning to a key called __proto__ does something else.
  const merged = { ...under, ...over };
  for (const key of keys) if (key !== "__proto__") merged[key] = merge(under[key], over[key]);
  return merged;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
