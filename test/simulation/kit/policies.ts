import { spamEngines, type SpamEngineName } from "@rs-agent/shared/checks/spam.ts";
import type { DirectionRules, PolicyRules } from "@rs-agent/shared/policy/rules.ts";
import { ownCheck, signature, tenantDomain } from "./mails.ts";
import type { Random } from "./random.ts";

/** Addresses of the two next hops. */
export const hopAddresses = { incoming: "127.0.0.1:2525", outgoing: "127.0.0.1:2526" } as const;

type Unchecked = NonNullable<NonNullable<DirectionRules["virus"]>["unchecked"]>;

/**
 * Documents of `policies`, as a person would have stored them: one tenant with two kinds of user.
 * An engine is named only if each engine has workers.
 */
export function createPolicies(
  random: Random,
  { revision = 1, hasBothEngines }: { revision?: number; hasBothEngines: boolean },
): Record<string, unknown>[] {
  const named = hasBothEngines ? namedEngine(random.fork(`engine ${revision}`)) : {};
  const protocol = random.pick(["smtp", "smtp", "lmtp"] as const);
  return [
    { _id: "default", scope: "default", revision, rules: defaultRules(random, named) },
    {
      _id: "tenant:acme",
      scope: "tenant",
      revision,
      tenantId: "acme",
      networks: ["10.0.0.0/8"],
      domains: [tenantDomain],
      keys: [{ ...signature, privateKey: "file:/keys/acme.pem" }],
      rules: { outgoing: { route: { nextHop: hopAddresses.outgoing, protocol, tls: "none" } } },
    },
    {
      _id: `address:vip@${tenantDomain}`,
      scope: "address",
      revision,
      rules: { spam: { threshold: 8 } },
    },
  ];
}

function namedEngine(random: Random): { engine?: SpamEngineName } {
  return random.chance(0.5) ? { engine: random.pick(spamEngines) } : {};
}

function defaultRules(random: Random, named: { engine?: SpamEngineName }): PolicyRules {
  return {
    order: random.pick(["sequential", "sequential", "parallel"] as const),
    virus: {
      enabled: random.chance(0.95),
      onInfected: random.pick(["quarantine", "reject", "discard", "hold"] as const),
      unchecked: unchecked(random, random.pick(["quarantine", "pass"] as const), "quarantine"),
    },
    spam: {
      ...named,
      enabled: random.chance(0.9),
      threshold: 5,
      onSpam: random.pick(["tag", "quarantine"] as const),
      highThreshold: 15,
      onHighSpam: random.pick(["quarantine", "discard"] as const),
      unchecked: unchecked(random, "pass", random.pick(["quarantine", "pass"] as const)),
    },
    ...(random.chance(0.6) && { checks: { [ownCheck]: ownRules(random) } }),
    changes: { "verdict-headers": { enabled: random.chance(0.8) } },
    route: { nextHop: hopAddresses.incoming, tls: "none" },
    relay: {
      maxQueueTime: random.pick(["10m", "10m", "40s"] as const),
      retry: ["2s", "4s", "8s"],
      onUnknown: random.pick(["resend", "resend", "hold"] as const),
    },
  };
}

function ownRules(random: Random) {
  return {
    enabled: random.chance(0.9),
    settings: { words: random.pick([["secret"], ["secret", "internal"]]) },
    finding: random.pick(["tag", "quarantine", "reject", "discard"] as const),
    unchecked: unchecked(random, random.pick(["quarantine", "pass"] as const), "quarantine"),
  };
}

function unchecked(random: Random, permanent: "pass" | "quarantine", then: "pass" | "quarantine") {
  const wait = { action: "wait", for: random.pick(["12s", "40s", "5m"] as const), then } as const;
  const forGood = { action: permanent } as const;
  return {
    "engine-away": wait,
    "engine-error": wait,
    "time-out": wait,
    busy: wait,
    encrypted: forGood,
    limit: forGood,
    "too-large": forGood,
    malformed: forGood,
  } satisfies Unchecked;
}
