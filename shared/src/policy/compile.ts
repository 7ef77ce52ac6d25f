import { settingsHashOf, type Change, type ChangeKind } from "../mail/task-settings.ts";
import { sha256Hex } from "../ids.ts";
import { ownChecksIn, type AskedChecks } from "../checks/asked.ts";
import { uncheckedOf } from "../checks/consequence.ts";
import { builtInNames } from "../checks/built-in-checks.ts";
import type { CheckRules } from "../checks/check.ts";
import type { OwnCheck } from "../checks/own-check.ts";
import { checkOf, isBuiltIn, ofEach, type AnyCheck, type CheckKind } from "../checks/verdict.ts";
import type { CompleteRules } from "./complete-rules.ts";
import { durationMs } from "../duration.ts";
import { remembered } from "../remembered.ts";
import { parseNextHop } from "./next-hop.ts";
import type { Direction, Plan } from "../mail/plan.ts";
import type { Route } from "../mail/route.ts";
import type { SigningKey } from "./signing-key.ts";
import { changesInOrder } from "./steps.ts";

/** What a plan is made from, besides the rules. */
export interface PlanParts {
  policyIds: string[];
  revision: number;
  tenantId: string | undefined;
  direction: Direction;
  rules: CompleteRules;
  /** The key for the domain of the From that leaves, if our signature is due. */
  key: SigningKey | undefined;
  /** Our signature would be due, but the tenant has keys for other domains only. */
  noKey: boolean;
  /** `dsn`: our own report, signed and never checked. `scan-only`: checked, never changed. */
  purpose: "mail" | "dsn" | "scan-only";
}

/**
 * Puts a plan together. The rules have passed their checks, so nothing here can fail. Plans share
 * what is made from the same rules: never change one.
 */
export function compilePlan(parts: PlanParts): Plan {
  const { rules, purpose, direction, tenantId } = parts;
  const enrich = enrichOf(parts);
  const signature = enrich?.settings.changes.find((change) => change.kind === "sign");
  const isChecked = purpose !== "dsn";
  return {
    policyIds: parts.policyIds,
    revision: parts.revision,
    ...(tenantId !== undefined && { tenantId }),
    direction,
    order: rules.order,
    ...(isChecked && checksOf(rules)),
    ...(enrich !== undefined && { enrich }),
    ...(signature !== undefined && {
      demandedSignature: { domain: signature.domain, selector: signature.selector },
    }),
    route: routeOf(rules.route),
    relay: relayOf(rules.relay),
    retentionMs: retentionOf(rules.retention),
  };
}

/** The checks that are on, each with what is asked and what follows. */
function checksOf(rules: CompleteRules): AskedChecks {
  const builtIn = builtInNames.filter((name) => rules[name].enabled);
  const own = ownChecksIn(rules).filter((name) => rules.checks[name]?.enabled === true);
  const entries = (names: readonly CheckKind[]) =>
    Object.fromEntries(names.map((name) => [name, askedOf(name, rules)])) as AskedChecks;
  return { ...entries(builtIn), ...(own.length > 0 && { checks: entries(own) }) };
}

function askedOf(name: CheckKind, all: CompleteRules) {
  const rules = isBuiltIn(name) ? all[name] : all.checks[name];
  if (rules === undefined) throw new Error(`the check ${name} has no rules`);
  return (isBuiltIn(name) ? askedOfBuiltIn[name] : askedOfOwn)(rules);
}

/** One function per check, because another check may make something else of the same rules. */
const askedBy = (check: AnyCheck) =>
  remembered((rules: CheckRules) => {
    const settings = check.settingsOf(rules);
    return {
      settings,
      settingsHash: settingsHashOf(settings),
      unchecked: uncheckedOf(rules.unchecked),
      ...check.consequencesOf(rules),
    };
  });
const askedOfBuiltIn = ofEach(askedBy);
/** All own checks share it: their name makes no difference. */
const askedOfOwn = askedBy(checkOf("own" as OwnCheck));

type Enrich = Plan["enrich"];

/** Without a key in it, the result is the same for all whose changes are the same. */
function enrichOf(parts: PlanParts): Enrich {
  const { rules, key, purpose } = parts;
  if (purpose === "scan-only") return undefined;
  if (purpose === "dsn") return key && enrichPart([signWith(key)], rules.spam.threshold, false);
  if (key !== undefined) return enrichPart(changesOf(rules, key), rules.spam.threshold, false);
  const noKey = parts.noKey && rules.changes.sign.enabled;
  const known = unsigned(rules.changes);
  const name = JSON.stringify([rules.steps, rules.spam.threshold, noKey]);
  if (!known.has(name)) {
    known.set(name, enrichPart(changesOf(rules, undefined), rules.spam.threshold, noKey));
  }
  return known.get(name);
}

const unsigned = remembered<CompleteRules["changes"], Map<string, Enrich>>(() => new Map());

function enrichPart(changes: Change[], spamThreshold: number, noKey: boolean): Enrich {
  if (changes.length === 0 && !noKey) return undefined;
  const settings = { changes, spamThreshold, ...(noKey && { noKey }) };
  return { settings, settingsHash: settingsHashOf(settings) };
}

function changesOf(rules: CompleteRules, key: SigningKey | undefined): Change[] {
  return changesInOrder(rules).flatMap((kind) => changeOf(kind, rules.changes, key) ?? []);
}

function changeOf(
  kind: ChangeKind,
  changes: CompleteRules["changes"],
  key: SigningKey | undefined,
): Change | undefined {
  switch (kind) {
    case "strip":
    case "verdict-headers":
    case "geoip":
      return { kind };
    case "extra-headers": {
      const headers = Object.entries(changes[kind].headers);
      return { kind, headers: headers.map(([name, value]) => ({ name, value })) };
    }
    case "subject-tag":
      return { kind, tag: changes[kind].tag };
    case "sender-rewrite":
      return { kind, map: changes[kind].map };
    case "disclaimer": {
      const { text, html } = changes[kind];
      return { kind, text, ...(html !== undefined && { html }) };
    }
    case "sign":
      return key === undefined ? undefined : signWith(key);
  }
}

function signWith({ domain, selector, privateKey }: SigningKey) {
  return { kind: "sign", domain, selector, privateKey } as const;
}

const routeOf = remembered((rules: CompleteRules["route"]): Route => {
  const hop = parseNextHop(rules.nextHop);
  if (hop === undefined) throw new Error(`next hop ${rules.nextHop} has passed no check`);
  const { protocol, sourceAddress, helo, tls, credential } = rules;
  return {
    key: routeKey(rules),
    ...hop,
    protocol,
    ...(sourceAddress !== undefined && { sourceAddress }),
    ...(helo !== undefined && { helo }),
    tls,
    ...(credential !== undefined && { credential }),
  };
});

/**
 * `host:port|source`, plus a hash if more than that is set. One key never names two ways out, since
 * the relay has one pool of connections for each.
 */
function routeKey({
  nextHop,
  sourceAddress,
  protocol,
  helo,
  tls,
  credential,
}: CompleteRules["route"]) {
  const plain = `${nextHop}|${sourceAddress ?? ""}`;
  const more = [protocol, helo ?? "", tls, credential ?? ""].join("|");
  const isPlain = more === "smtp||opportunistic|" && plain.length <= 128;
  if (isPlain) return plain;
  return `${plain.slice(0, 110)}|${sha256Hex(`${plain}|${more}`).slice(0, 12)}`;
}

const relayOf = remembered(
  ({ maxQueueTime, retry, onUnknown }: CompleteRules["relay"]): Plan["relay"] => ({
    maxQueueMs: durationMs(maxQueueTime),
    retryMs: retry.map(durationMs),
    onUnknown,
  }),
);

const retentionOf = remembered((rules: CompleteRules["retention"]): Plan["retentionMs"] => {
  const kept = Object.entries(rules).filter(([, keep]) => keep !== "never");
  return Object.fromEntries(kept.map(([state, keep]) => [state, durationMs(keep)]));
});
