import { ownCheckOf, type OwnCheck } from "../checks/own-check.ts";
import type { BuiltInCheck, EntryOf } from "../checks/verdict.ts";
import type { FinalOutcome } from "../life/outcomes.ts";
import type { DirectionRules, PolicyRules, StepName } from "./rules.ts";
import type { Direction } from "../mail/plan.ts";

/** Of the checks that are built in. */
export type BuiltInRules = { [N in BuiltInCheck]: EntryOf<N>["builtIn"] };

/** Rules after everything was merged over the built-in ones: nothing that a plan needs is absent. */
export interface CompleteRules extends BuiltInRules {
  /** Checks that the policies bring. */
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

/**
 * The built-in rules with the documents' rules laid over them, most general first. In each document
 * the rules for one direction lie over those for both. Objects are merged key by key; lists and
 * single values are replaced.
 */
export function mergedRules(
  builtIn: CompleteRules,
  documents: readonly PolicyRules[],
  direction: Direction,
): CompleteRules {
  const layers = documents.flatMap((rules) => {
    const { incoming, outgoing, ...both } = rules;
    const own: DirectionRules | undefined = direction === "incoming" ? incoming : outgoing;
    return own === undefined ? [both] : [both, own];
  });
  // The schema of the layers allows only what CompleteRules has, and the first one is complete.
  const merged = layers.reduce<unknown>(merge, builtIn) as CompleteRules;
  const own = Object.entries(merged.checks).map(([name, rules]) => [
    name,
    merge(ownCheckOf(name as OwnCheck).builtIn, rules),
  ]);
  return { ...merged, checks: Object.fromEntries(own) as CompleteRules["checks"] };
}

function merge(under: unknown, over: unknown): unknown {
  if (over === undefined) return under;
  if (!isObject(under) || !isObject(over)) return over;
  const merged = new Map(Object.entries(under));
  for (const [key, value] of Object.entries(over)) merged.set(key, merge(merged.get(key), value));
  return Object.fromEntries(merged);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
