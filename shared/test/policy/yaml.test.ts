import { describe, expect, test } from "vitest";
import { TerminalError } from "../../src/errors.ts";
import { policyDocumentSchema } from "../../src/policy/document.ts";
import { createPolicyBook } from "../../src/policy/effective.ts";
import { formatPolicyYaml, parsePolicyYaml } from "../../src/policy/yaml.ts";
import { sampleYaml } from "./sample-policy.ts";

/** The lines of the error that a file gives. */
function wrongs(text: string): string[] {
  try {
    parsePolicyYaml(text, "p.yaml");
  } catch (error) {
    if (!(error instanceof TerminalError)) throw error;
    expect(error.code).toBe("CFG_POLICY_INVALID");
    return error.message.split("\n");
  }
  return [];
}

const tenant = "tenants: { t: { domains: [t.example] } }\n";

describe("a policy file", () => {
  test("gives one document for each name, with normal ids", () => {
    const documents = parsePolicyYaml(
      `${tenant}default: {}\ndomains: { T.Example: {} }\naddresses: { A@T.example: { spam: off } }`,
      "p.yaml",
    );
    expect(documents.map(({ _id }) => _id)).toEqual([
      "default",
      "tenant:t",
      "domain:t.example",
      "address:a@t.example",
    ]);
    expect(documents.at(-1)).toMatchObject({ revision: 0, rules: { spam: { enabled: false } } });
  });

  test("is read back to the same documents when it is written from them", () => {
    const yaml = sampleYaml.replace("    domains: [acme", '    recipientDelimiter: "+-"\n$&');
    const documents = parsePolicyYaml(yaml, "p.yaml");
    expect(documents.find(({ _id }) => _id === "tenant:acme")).toMatchObject({
      recipientDelimiter: "+-",
    });
    const again = parsePolicyYaml(formatPolicyYaml(documents), "again.yaml");
    const byId = (list: typeof documents) => list.toSorted((a, b) => (a._id < b._id ? -1 : 1));
    expect(byId(again)).toEqual(byId(documents));
  });

  test("holds documents that their own schema leaves as they are, as the store reads them", () => {
    const documents = parsePolicyYaml(sampleYaml, "p.yaml");
    expect(documents.map((document) => policyDocumentSchema.parse(document))).toEqual(documents);
  });

  test("may bring checks of its own, which come back as they were written", () => {
    const text =
      "default: { checks: { dlp: { settings: { words: [secret] }, finding: tag }, pii: off } }";
    const documents = parsePolicyYaml(text, "p.yaml");
    expect(documents[0]?.rules).toEqual({
      checks: { dlp: { settings: { words: ["secret"] }, finding: "tag" }, pii: { enabled: false } },
    });
    expect(parsePolicyYaml(formatPolicyYaml(documents), "again.yaml")).toEqual(documents);
  });

  test.each([
    ["{ DLP: {} }", /DLP must be a lower-case letter and up to 31 letters/],
    ["{ virus: {} }", /virus is taken: a check of your own needs another name/],
    ["{ constructor: {} }", /constructor is taken/],
    ["{ dlp: { findings: tag } }", /unknown key findings; known here: .*finding/],
    ["{ dlp: { finding: maybe } }", /expected one of "deliver"/],
    ["{ dlp: { worker: pii } }", /must be dlp: the workers of a check have its name/],
    [`{ dlp: { settings: { a: ${"x".repeat(9_000)} } } }`, /must not be longer than 8000/],
  ])("names what is wrong with checks: %s", (checks, wrong) => {
    expect(wrongs(`default: { checks: ${checks} }`).join("\n")).toMatch(wrong);
  });

  test("does not show a private key in it if keys are to be hidden", () => {
    const [document] = parsePolicyYaml(tenant, "p.yaml");
    if (document?.scope !== "tenant") throw new Error("a tenant was written");
    const key = { domain: "t.example", selector: "s", privateKey: "-----BEGIN PRIVATE" };
    const shown = formatPolicyYaml([{ ...document, keys: [key] }], { maskKeys: true });
    expect(shown).not.toContain("BEGIN");
    expect(shown).toContain("(hidden)");
  });
});

describe("what is wrong is named with its place", () => {
  test.each([
    ["an unknown key", "default:\n  spamm: off\n", "p.yaml:2:3: unknown key spamm; known here: "],
    ["an unknown key on top", "defaults: {}\n", "p.yaml:1:1: unknown key defaults; known here: "],
    [
      "a bare number",
      "default:\n  relay: { maxQueueTime: 5 }\n",
      "p.yaml:2:26: must be a duration",
    ],
    [
      "a wrong word",
      "default:\n  order: both\n",
      'p.yaml:2:10: Invalid option: expected one of "seq',
    ],
    ["a wrong switch", "default:\n  virus: { enabled: maybe }\n", "p.yaml:2:21: must be on or off"],
    ["no section", "default:\n  changes:\n    geoip: 7\n", "p.yaml:3:12: must be on, off or a sec"],
    ["no next hop", "default:\n  route: { nextHop: a }\n", "p.yaml:2:21: must be host:port"],
    ["no duration", "default:\n  retention: { dead: 7 }\n", "p.yaml:2:22: must be a duration"],
    [
      "delivered viruses",
      "default:\n  virus: { onInfected: tag }\n",
      'p.yaml:2:24: Invalid option: expected one of "quarantine"',
    ],
    [
      "a value for a group of reasons",
      "default:\n  virus:\n    unchecked: { transient: { action: wait, for: 4 } }\n",
      "p.yaml:3:50: must be a duration",
    ],
    [
      "a header that belongs to the mail",
      "default:\n  changes:\n    extra-headers: { headers: { From: x } }\n",
      "p.yaml:3:33: From is a field that belongs to the mail itself",
    ],
    [
      "a header that smuggles another",
      'default:\n  changes:\n    extra-headers: { headers: { X-A: "b\\r\\nBcc: c" } }\n',
      "p.yaml:3:38: ",
    ],
    ["an open network", "tenants:\n  t:\n    networks: [0.0.0.0/0]\n", "p.yaml:3:16: is too wide"],
    [
      "a host with a prefix",
      "tenants:\n  t:\n    networks: [10.1.2.3/8]\n",
      "p.yaml:3:16: has bits set after its prefix; the network is 10.0.0.0/8",
    ],
    ["no tenant's name", "tenants:\n  Ünit: {}\n", "p.yaml:2:3: must be a tenant's name"],
    ["no domain", `${tenant}domains:\n  "a b": {}\n`, "p.yaml:3:3: a b is not a valid domain"],
    [
      "nobody's domain",
      `${tenant}domains:\n  u.example: {}\n`,
      "p.yaml:3:3: u.example belongs to no",
    ],
    ["an empty file", "# nothing\n", "p.yaml:1:1: "],
    ["a file without policy", "tenants: {}\n", "p.yaml:1:1: holds no policy"],
    [
      "a key twice",
      "default: {}\ndefault: {}\n",
      "p.yaml:2:1: default occurs twice in this section",
    ],
    ["broken YAML", "default: {\n", "p.yaml:2:1: "],
  ])("%s", (_title, text, expected) => {
    const [first = "nothing was wrong"] = wrongs(text);
    expect(first.slice(0, expected.length)).toBe(expected);
  });

  test("all of it in one message, by line", () => {
    const lines = wrongs(`
default:
  spam: { threshold: high }
  order: x
tenants:
  a: { domains: [x.example], keys: [{ domain: y.example, selector: s, privateKey: rubbish }] }
  b: { domains: [x.example] }
addresses:
  nobody: {}
`);
    expect(lines.map((line) => line.split(":")[1])).toEqual(["3", "4", "6", "9"]);
  });

  test("a domain, network or key that two claim", () => {
    const lines = wrongs(`
tenants:
  a:
    networks: [192.0.2.1]
    domains: [x.example]
    keys:
      - { domain: x.example, selector: s, privateKey: file:/k }
      - { domain: x.example, selector: t, privateKey: file:/k }
      - { domain: z.example, selector: t, privateKey: file:/k }
  b: { networks: [192.0.2.1/32], domains: [X.example] }
`);
    expect(lines).toEqual([
      "p.yaml:8:19: x.example already has a key; a domain has only one",
      "p.yaml:9:19: z.example is not among this tenant's domains",
      "p.yaml:10:19: 192.0.2.1/32 is already tenant:a's",
      "p.yaml:10:44: x.example is already tenant:a's",
    ]);
  });
});

describe("the order of steps (I5)", () => {
  const all = "strip, verdict-headers, geoip";
  test.each([
    [`virus, spam, ${all}, sign, subject-tag`, "subject-tag follows the signature"],
    [`virus, spam, ${all}, disclaimer, sign, disclaimer`, "step disclaimer is listed twice"],
    [`virus, ${all}, spam, sign`, "check spam follows header change strip"],
    [`virus, spam, disclaimer, ${all}, sign`, "header change strip follows body change disclaimer"],
    [`sign, virus, spam, ${all}`, "virus follows the signature"],
    [`spam, virus, ${all}, sign`, "virus must come before spam"],
    [`virus, ${all}, sign`, "step spam is on but not in the list"],
  ])("[%s] is refused when it is loaded", (steps, expected) => {
    const [first = ""] = wrongs(`default:\n  steps: [${steps}]\n`);
    expect(first).toMatch(/^p\.yaml:2:10: /);
    expect(first.slice("p.yaml:2:10: ".length, "p.yaml:2:10: ".length + expected.length)).toBe(
      expected,
    );
  });

  test("a right order is accepted", () => {
    expect(
      wrongs(`default:\n  steps: [virus, spam, geoip, strip, verdict-headers, sign]\n`),
    ).toEqual([]);
  });

  test("a fault is reported where it is made, not where it is inherited", () => {
    const text = `${tenant}default: { steps: [virus] }\ndomains: { t.example: {} }\n`;
    expect(wrongs(text)).toHaveLength(1);
  });

  test("a change switched on under an inherited order that lacks it is refused there", () => {
    const text = `
default: { steps: [virus, spam, geoip, strip, verdict-headers, sign] }
tenants: { t: { domains: [t.example] } }
domains:
  t.example:
    changes: { subject-tag: on }
`;
    expect(wrongs(text)[0]).toMatch(/^p\.yaml:6:5: step subject-tag is on but not in the list/);
  });

  test("a book refuses documents from the database just as a file is refused", () => {
    const rules = { steps: ["sign", "strip"] as ("sign" | "strip")[] };
    expect(() =>
      createPolicyBook([{ _id: "default", scope: "default", revision: 1, rules }]),
    ).toThrow(/default rules steps: strip follows the signature/);
  });
});

describe("a credential is sent only to a hop that proves who it is", () => {
  const defaults = (route: string) => wrongs(`default:\n  route: { ${route} }\n`);
  const credential = "credential: hop";

  test("opportunistic TLS with a credential is refused, stated or by default", () => {
    expect(defaults(`nextHop: mx.example:25, tls: opportunistic, ${credential}`)).toEqual([
      "p.yaml:2:41: opportunistic with a credential would tell the password to whatever " +
        "certificate is shown; it must be required (incoming mail)",
    ]);
    expect(defaults(`nextHop: mx.example:465, ${credential}`)).toEqual([
      expect.stringMatching(/^p\.yaml:2:10: opportunistic with a credential /),
    ]);
  });

  test("so is none", () => {
    const [first] = defaults(`nextHop: "[2001:db8::1]:25", tls: none, ${credential}`);
    expect(first).toMatch(/^p\.yaml:2:46: none with a credential .* in plain text/);
  });

  test("it is found where the rules of two documents meet, and once", () => {
    const text = `${tenant}default: { route: { nextHop: mx.example:25, tls: required, ${credential} } }
domains:
  t.example: { incoming: { route: { tls: opportunistic } } }
addresses: { a@t.example: {} }
`;
    expect(wrongs(text)).toEqual([
      expect.stringMatching(/^p\.yaml:4:42: opportunistic .*\(incoming mail\)$/),
    ]);
  });

  test("verified TLS and this machine itself are accepted", () => {
    expect(defaults(`nextHop: mx.example:25, tls: required, ${credential}`)).toEqual([]);
    for (const host of ["127.0.0.2", "localhost", '"[::1]', '"[::ffff:127.0.0.1]']) {
      const quote = host.startsWith('"') ? '"' : "";
      expect(defaults(`nextHop: ${host}:25${quote}, tls: none, ${credential}`)).toEqual([]);
    }
  });

  test("a policy in force with it stays in force: the relay makes sure that nothing is sent", () => {
    const route = { nextHop: "mx.example:25", tls: "opportunistic", credential: "hop" } as const;
    const document = { _id: "default", scope: "default", revision: 1, rules: { route } } as const;
    expect(createPolicyBook([document]).revision).toBe(1);
  });
});

test("a disclaimer without text, headers without any, a threshold above the high one are refused", () => {
  const lines = wrongs(`
default:
  spam: { threshold: 20 }
  changes:
    disclaimer: on
    extra-headers: on
    sender-rewrite: on
`);
  expect(lines.map((line) => line.split(": ")[1])).toEqual([
    "is lower than threshold (incoming mail)",
    "is on but has no text (incoming mail)",
    "is on but has no headers (incoming mail)",
    "is on but has no map (incoming mail)",
  ]);
});
