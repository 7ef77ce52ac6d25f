import { createPolicyBook } from "../../src/policy/effective.ts";
import type { Direction, Plan } from "../../src/mail/plan.ts";
import { parsePolicyYaml } from "../../src/policy/yaml.ts";

/** Two tenants, one of which has rules for a domain and for an address. */
export const sampleYaml = `
tenants:
  acme:
    networks: [10.0.0.0/8, 2001:db8:a::/48]
    domains: [acme.example, acme.test, bücher.example]
    keys:
      - { domain: acme.example, selector: s1, privateKey: file:/keys/acme.pem }
    rules:
      route: { nextHop: "mail.acme.example:2525", sourceAddress: 127.0.0.2 }
      outgoing:
        changes: { disclaimer: { enabled: on, text: From Acme } }
  other:
    networks: [10.9.0.0/16, 192.0.2.7]
    domains: [other.example]
    keys:
      - { domain: other.example, selector: o1, privateKey: file:/keys/other.pem }
domains:
  acme.test: { spam: off }
addresses:
  vip@acme.example:
    spam: { threshold: 8 }
    changes: { disclaimer: off }
`;

export function bookOf(yaml: string) {
  return createPolicyBook(parsePolicyYaml(yaml, "test.yaml"));
}

export function planOf(yaml: string, direction: Direction = "incoming"): Plan {
  const owner = "tenants: { t: { networks: [10.0.0.0/8], domains: [t.example] } }";
  return bookOf(`${owner}\n${yaml}`).planFor({
    direction,
    tenantId: "t",
    mailFrom: "a@t.example",
    recipient: "b@t.example",
  });
}

/** The kinds of change that a plan makes, in order. */
export function changesOf(plan: Plan): string[] {
  return plan.enrich?.settings.changes.map(({ kind }) => kind) ?? [];
}
