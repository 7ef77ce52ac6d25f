import { describe, expect, test } from "vitest";
import {
  createPolicyBook,
  type MailForPolicy,
  type PlanQuery,
} from "../../src/policy/effective.ts";
import { bookOf, changesOf, planOf, sampleYaml } from "./sample-policy.ts";

const book = bookOf(sampleYaml);

function mail(part: {
  client?: string;
  from?: string;
  fromDomain?: string;
  to: string[];
  via?: string;
  outgoing?: boolean;
  scanOnly?: boolean;
}): MailForPolicy {
  const { client = "203.0.113.5", from = "a@else.example", to, via = "smtp" } = part;
  return {
    smtp: { mailFrom: from, client: { address: client, name: "", helo: "" } },
    origin: { via, outgoing: part.outgoing, scanOnly: part.scanOnly },
    header: { fromDomain: part.fromDomain },
    recipients: to.map((address) => ({ address, outcome: "open" })),
  };
}

function onlyPlan(one: MailForPolicy) {
  const groups = book.groups(one);
  expect(groups).toHaveLength(1);
  const [group] = groups;
  if (group === undefined) throw new Error("no group");
  return group.plan;
}

describe("direction", () => {
  test.each([
    ["10.1.2.3", "acme"],
    ["::ffff:10.1.2.3", "acme"],
    ["2001:db8:a:1::5", "acme"],
    ["192.0.2.7", "other"],
    ["::ffff:192.0.2.7", "other"],
  ])("mail from %s is outgoing mail of %s", (address, tenantId) => {
    expect(book.directionOf(address, false)).toEqual({ direction: "outgoing", tenantId });
  });

  test("the narrower of two overlapping networks decides the tenant", () => {
    expect(book.directionOf("10.9.1.1", false).tenantId).toBe("other");
  });

  test.each(["192.0.2.8", "", "unknown", "::1", "010.1.2.3", "10.1.2.3/8", "2001:db8:b::1"])(
    "mail from %j is incoming",
    (address) => {
      expect(book.directionOf(address, false)).toEqual({ direction: "incoming" });
    },
  );

  test("a listener with a tenant makes all of its mail that tenant's, wherever its client is", () => {
    for (const client of ["203.0.113.5", "10.9.1.1", ""]) {
      expect(book.directionOf(client, true, "acme")).toEqual({
        direction: "outgoing",
        tenantId: "acme",
      });
    }
    expect([book.hasTenant("acme"), book.hasTenant("nobody")]).toEqual([true, false]);
  });

  test("a listener for outgoing mail makes a stranger's mail outgoing, of no tenant", () => {
    expect(book.directionOf("203.0.113.5", true)).toEqual({ direction: "outgoing" });
  });

  test("a sender address never makes mail outgoing", () => {
    const plan = onlyPlan(mail({ from: "boss@acme.example", to: ["x@acme.example"] }));
    expect(plan.direction).toBe("incoming");
  });
});

describe("recipients", () => {
  test.each(["x@acme.example", "X@ACME.Example", "x@xn--bcher-kva.example", "x@bücher.example"])(
    "incoming mail to %s is accepted",
    (address) => {
      expect(book.acceptsRecipient(address, "incoming")).toBe(true);
    },
  );

  test.each([
    "x@else.example",
    "x@sub.acme.example",
    "acme.example",
    "@acme.example",
    "",
    "x%else.example@acme.example",
    "else.example!x@acme.example",
    '"x@else.example"@acme.example',
    "x@acme.example@else.example",
    "x@acme.example.else.example",
    '"x%else.example"@acme.example',
    '"else.example!x"@acme.example',
    '"x@ else.example "@acme.example',
    '"x@[192.0.2.1]"@acme.example',
    '"x@3221225985"@acme.example',
    '"x@else.\\example"@acme.example',
    '"x%else.example@b"@acme.example',
  ])("incoming mail to %j is refused: never an open relay", (address) => {
    expect(book.acceptsRecipient(address, "incoming")).toBe(false);
  });

  test.each([
    '"odd user"@acme.example',
    '"a@b"@acme.example',
    '"100%"@acme.example',
    '"x!"@acme.example',
    '"first.last@work"@acme.example',
  ])("incoming mail to %s is accepted: what is quoted names no host (RFC 5321 §4.1.2)", (to) => {
    expect(book.acceptsRecipient(to, "incoming")).toBe(true);
  });

  test("postmaster without a domain is ours (RFC 5321 §4.5.1)", () => {
    expect(book.acceptsRecipient("Postmaster", "incoming")).toBe(true);
  });

  test("outgoing mail goes anywhere", () => {
    expect(book.acceptsRecipient("x@else.example", "outgoing")).toBe(true);
  });

  test("without any document nobody's mail is accepted", () => {
    expect(createPolicyBook([]).acceptsRecipient("x@acme.example", "incoming")).toBe(false);
  });
});

describe("which policy applies", () => {
  test("incoming mail follows its recipient: address over domain over tenant over default", () => {
    const vip = onlyPlan(mail({ to: ["VIP@acme.example"] }));
    expect(vip.policyIds).toEqual(["address:vip@acme.example", "tenant:acme"]);
    expect(vip.spam?.threshold).toBe(8);
    expect(onlyPlan(mail({ to: ["x@acme.test"] })).policyIds).toEqual([
      "domain:acme.test",
      "tenant:acme",
    ]);
    expect(onlyPlan(mail({ to: ["x@other.example"] })).policyIds).toEqual(["tenant:other"]);
  });

  test.each(['"vip"@acme.example', '"v\\ip"@ACME.example', '"VIP"@acme.example'])(
    "%s is vip@ (RFC 5321 §4.1.2)",
    (address) => {
      const { policyIds } = onlyPlan(mail({ to: [address] }));
      expect(policyIds).toEqual(["address:vip@acme.example", "tenant:acme"]);
      const outgoing = mail({ client: "10.0.0.1", from: address, to: ["a@x.example"] });
      expect(onlyPlan(outgoing).policyIds).toEqual(policyIds);
    },
  );

  describe("with a delimiter", () => {
    const withDelimiter = (delimiter: string, more = "") =>
      bookOf(
        sampleYaml.replace("    domains: [acme", `    recipientDelimiter: "${delimiter}"\n$&`) +
          more,
      );
    const idsFor = (delimiter: string, to: string, more?: string) =>
      withDelimiter(delimiter, more).groups(mail({ to: [to] }))[0]?.plan.policyIds;
    const vips = ["address:vip@acme.example", "tenant:acme"];

    test.each([
      ["+", "vip+news@acme.example"],
      ["+", '"VIP+news"@acme.example'],
      ["+", "vip+news+more@acme.example"],
      ["-+", "vip-news+more@acme.example"],
      ["+-", "vip-news@acme.example"],
    ])("%s the rules of vip@ hold for %s", (delimiter, address) => {
      expect(idsFor(delimiter, address)).toEqual(vips);
    });

    test.each([
      ["+", "vip-news@acme.example"],
      ["+", "+vip@acme.example"],
      ["+", '"vip +news"@acme.example'],
      ["-", "owner-vip@acme.example"],
      ["+", "vip+news@other.example"],
    ])("%s the rules of vip@ do not hold for %s", (delimiter, address) => {
      expect(idsFor(delimiter, address)).not.toContain("address:vip@acme.example");
    });

    test("an address with its extension may have rules of its own over those", () => {
      const own = "  vip+news@acme.example: { spam: off }\n";
      expect(idsFor("+", "vip+news@acme.example", own)).toEqual([
        "address:vip+news@acme.example",
        ...vips,
      ]);
    });

    test("without one, the rules of vip@ are only for vip@", () => {
      expect(onlyPlan(mail({ to: ["vip+news@acme.example"] })).policyIds).toEqual(["tenant:acme"]);
    });
  });

  test("without any document the built-in rules apply and say so", () => {
    const plan = createPolicyBook([], { nextHop: "192.0.2.1:26" }).planFor({
      direction: "incoming",
      mailFrom: "",
      recipient: "x@y.example",
    });
    expect(plan.policyIds).toEqual(["built-in"]);
    expect(plan.route).toMatchObject({ key: "192.0.2.1:26|", host: "192.0.2.1", port: 26 });
  });

  test("outgoing mail follows its sender within the tenant of the client's network", () => {
    const plan = onlyPlan(
      mail({ client: "10.0.0.1", from: "vip@acme.example", to: ["a@x.example", "b@y.example"] }),
    );
    expect(plan).toMatchObject({ direction: "outgoing", tenantId: "acme" });
    expect(plan.policyIds).toEqual(["address:vip@acme.example", "tenant:acme"]);
    expect(changesOf(plan)).not.toContain("disclaimer");
  });

  test("a sender domain that is not the tenant's gives the tenant's rules only", () => {
    const plan = onlyPlan(
      mail({ client: "192.0.2.7", from: "vip@acme.example", to: ["a@x.example"] }),
    );
    expect(plan.policyIds).toEqual(["tenant:other"]);
    expect(plan.spam?.threshold).toBe(5);
  });

  test("the newest revision among the documents that apply is the plan's", () => {
    const documents = [
      { _id: "default", scope: "default", revision: 3, rules: {} },
      {
        _id: "tenant:t",
        scope: "tenant",
        tenantId: "t",
        revision: 5,
        domains: ["t.example"],
        rules: {},
      },
      {
        _id: "tenant:u",
        scope: "tenant",
        tenantId: "u",
        revision: 9,
        domains: ["u.example"],
        rules: {},
      },
    ] as const;
    const three = createPolicyBook(documents.map((one) => ({ ...one })) as never);
    const plan = three.planFor({ direction: "incoming", mailFrom: "", recipient: "x@t.example" });
    expect([plan.revision, three.revision]).toEqual([5, 9]);
  });
});

describe("inheritance", () => {
  test("objects merge key by key and lists are replaced", () => {
    const plan = planOf(`
default: { virus: { unchecked: { encrypted: pass } }, relay: { retry: [1m, 2m] } }
domains:
  t.example: { virus: { unchecked: { limit: pass } }, relay: { retry: [9m] } }
`);
    expect(plan.virus?.unchecked).toMatchObject({
      encrypted: { action: "pass" },
      limit: { action: "pass" },
      malformed: { action: "quarantine" },
    });
    expect(plan.relay).toEqual({
      maxQueueMs: 5 * 86_400_000,
      retryMs: [9 * 60_000],
      onUnknown: "resend",
    });
  });

  test("rules for one direction lie over those for both, in the same document only", () => {
    const yaml = `
default: { incoming: { spam: { threshold: 1 } }, spam: { threshold: 2 } }
domains: { t.example: { order: parallel } }
`;
    expect(planOf(yaml, "incoming").spam?.threshold).toBe(1);
    expect(planOf(yaml, "outgoing").spam?.threshold).toBe(2);
    const special = yaml.replace("order: parallel", "spam: { threshold: 3 }");
    expect(planOf(special, "incoming").spam?.threshold).toBe(3);
  });

  test("a group of reasons stands for those that are not stated themselves", () => {
    const plan = planOf("default: { spam: { unchecked: { permanent: quarantine, limit: pass } } }");
    expect(plan.spam?.unchecked).toMatchObject({
      encrypted: { action: "quarantine" },
      limit: { action: "pass" },
      busy: { action: "wait", waitMs: 4 * 3_600_000, then: "quarantine" },
    });
  });
});

describe("checks and changes", () => {
  test("virus and spam are absent from the plan if they are off", () => {
    const plan = planOf("default: { virus: off, spam: { enabled: off } }");
    expect(plan.virus).toBeUndefined();
    expect(plan.spam).toBeUndefined();
  });

  test("by default incoming mail is stripped and marked, outgoing mail is marked", () => {
    expect(changesOf(planOf(""))).toEqual(["strip", "verdict-headers", "geoip"]);
    expect(changesOf(planOf("", "outgoing"))).toEqual(["verdict-headers"]);
  });

  test("incoming mail is left unstripped only if a policy says so", () => {
    expect(changesOf(planOf("default: { changes: { strip: off } }"))).not.toContain("strip");
  });

  test("stating a change's settings switches it on, unless the section says off", () => {
    const tag = (more: string) =>
      changesOf(planOf(`default: { changes: { subject-tag: { tag: T${more} } } }`));
    expect(tag("")).toContain("subject-tag");
    expect(tag(", enabled: off")).not.toContain("subject-tag");
  });

  test("with every change off there is nothing to enrich", () => {
    const yaml = "default: { changes: { strip: off, verdict-headers: off, geoip: off } }";
    expect(planOf(yaml).enrich).toBeUndefined();
  });

  test("changes keep the order of I5 however they are written", () => {
    const plan = planOf(`
default:
  changes:
    disclaimer: { enabled: on, text: Bye }
    sender-rewrite: { enabled: on, map: { "@t.example": info@t.example } }
    subject-tag: on
    extra-headers: { enabled: on, headers: { X-Org: T } }
`);
    expect(changesOf(plan)).toEqual([
      "strip",
      "verdict-headers",
      "extra-headers",
      "geoip",
      "subject-tag",
      "sender-rewrite",
      "disclaimer",
    ]);
  });

  test("a policy's steps order the changes", () => {
    const plan = planOf(
      "default: { incoming: { steps: [virus, spam, geoip, strip, verdict-headers] } }",
    );
    expect(changesOf(plan)).toEqual(["geoip", "strip", "verdict-headers"]);
  });

  test("mail of a scan-only source is checked and never changed", () => {
    const plan = onlyPlan(mail({ to: ["x@acme.example"], scanOnly: true }));
    expect(plan.enrich).toBeUndefined();
    expect(plan.virus).toBeDefined();
  });
});

describe("our signature", () => {
  const signed = (part: Parameters<typeof mail>[0]) => onlyPlan(mail(part)).demandedSignature;
  const to = ["a@x.example"];

  test("is demanded for outgoing mail whose From domain is the tenant's and has a key (I10)", () => {
    const plan = onlyPlan(
      mail({ client: "10.0.0.1", from: "a@acme.example", fromDomain: "acme.example", to }),
    );
    expect(plan.demandedSignature).toEqual({ domain: "acme.example", selector: "s1" });
    expect(plan.enrich?.settings.changes.at(-1)).toMatchObject({
      kind: "sign",
      privateKey: "file:/keys/acme.pem",
    });
  });

  test("goes by the From domain, not by the SMTP sender", () => {
    const from = "bounce@mailer.example";
    const other = signed({ client: "10.0.0.1", from, fromDomain: "acme.example", to });
    expect(other?.domain).toBe("acme.example");
    expect(signed({ client: "10.0.0.1", from: "a@acme.example", to })).toBeUndefined();
  });

  test("is not given to a stranger who writes the tenant's address", () => {
    const from = "a@acme.example";
    const fromDomain = "acme.example";
    expect(signed({ from, fromDomain, to: ["x@acme.example"] })).toBeUndefined();
    expect(signed({ from, fromDomain, to, outgoing: true })).toBeUndefined();
  });

  test("is not given to one tenant for another's domain", () => {
    const of = { client: "192.0.2.7", from: "a@acme.example", fromDomain: "acme.example", to };
    expect(signed(of)).toBeUndefined();
  });

  test("is not made for a domain of the tenant that has no key", () => {
    expect(signed({ client: "10.0.0.1", fromDomain: "acme.test", to })).toBeUndefined();
  });

  test("goes by the From that leaves after a sender rewrite", () => {
    const rewriting = bookOf(`${sampleYaml}
default:
  changes: { sender-rewrite: { map: { "@acme.test": new@acme.example, x@acme.example: x@acme.test } } }
`);
    const signatureOf = (address: string, of: Partial<PlanQuery> = {}) =>
      rewriting.planFor({
        direction: "outgoing",
        tenantId: "acme",
        mailFrom: "a@acme.example",
        headerFromDomain: address.slice(address.indexOf("@") + 1),
        headerFromAddresses: [address],
        recipient: "a@x.example",
        ...of,
      }).demandedSignature?.domain;
    expect(signatureOf("a@ACME.test")).toBe("acme.example");
    expect(signatureOf("a@acme.example")).toBe("acme.example");
    expect(signatureOf("x@acme.example")).toBeUndefined();
    expect(signatureOf("a@acme.test", { headerFromAddresses: undefined })).toBe("acme.example");
    // Our own report is signed and never changed otherwise.
    expect(signatureOf("x@acme.example", { purpose: "dsn" })).toBe("acme.example");
  });

  test("is missed, and the enricher says so, if the tenant has keys only for other domains", () => {
    const noKey = (part: Parameters<typeof mail>[0]) => onlyPlan(mail(part)).enrich?.settings.noKey;
    expect(noKey({ client: "10.0.0.1", fromDomain: "acme.test", to })).toBe(true);
    expect(noKey({ client: "10.0.0.1", to })).toBe(true);
    expect(noKey({ client: "10.0.0.1", fromDomain: "acme.example", to })).toBeUndefined();
    expect(noKey({ fromDomain: "acme.test", to: ["x@acme.example"] })).toBeUndefined();
    expect(planOf("default: {}", "outgoing").enrich?.settings.noKey).toBeUndefined();
  });

  test("is missed only in words if no change is on", () => {
    const off = "default: { changes: { verdict-headers: off, disclaimer: off } }";
    const yaml = sampleYaml.replace(
      "changes: { disclaimer: { enabled: on, text: From Acme } }",
      "{}",
    );
    const query = {
      direction: "outgoing",
      tenantId: "acme",
      mailFrom: "",
      recipient: "a@x.example",
    } as const;
    const plan = bookOf(`${off}\n${yaml}`).planFor(query);
    expect(plan.enrich?.settings).toEqual({ changes: [], spamThreshold: 5, noKey: true });
    const unsigning = off.replace("changes: {", "changes: { sign: off,");
    expect(bookOf(`${unsigning}\n${yaml}`).planFor(query).enrich).toBeUndefined();
  });

  test("stands on our own report, which is never checked and never changed otherwise", () => {
    const plan = onlyPlan(mail({ via: "dsn", from: "", fromDomain: "acme.example", to }));
    expect([plan.virus, plan.spam]).toEqual([undefined, undefined]);
    expect(changesOf(plan)).toEqual(["sign"]);
    expect(plan.direction).toBe("outgoing");
  });
});

describe("groups", () => {
  test("recipients with the same effective policy stay together, in the record's order", () => {
    const to = ["a@acme.example", "vip@acme.example", "b@acme.example", "x@acme.test"];
    const groups = book.groups(mail({ to }));
    expect(groups.map(({ recipients }) => recipients)).toEqual([
      ["a@acme.example", "b@acme.example"],
      ["vip@acme.example"],
      ["x@acme.test"],
    ]);
  });

  test("documents that say the same make one group", () => {
    const same = bookOf(`
tenants: { t: { domains: [t.example] } }
addresses:
  a@t.example: { spam: { threshold: 7 } }
  b@t.example: { spam: { threshold: 7 } }
`);
    expect(same.groups(mail({ to: ["a@t.example", "b@t.example"] }))).toHaveLength(1);
  });

  test("outgoing mail is one group for any recipients", () => {
    const to = ["a@acme.example", "vip@acme.example", "x@else.example"];
    expect(book.groups(mail({ client: "10.0.0.1", to }))).toHaveLength(1);
  });

  test("a recipient with an outcome stays in the mail and decides nothing (I1)", () => {
    const one = mail({ to: ["a@acme.example"] });
    const done = { address: "vip@acme.example", outcome: "sent" };
    const groups = book.groups({ ...one, recipients: [done, ...one.recipients] });
    expect(groups.map(({ recipients }) => recipients)).toEqual([
      ["a@acme.example", "vip@acme.example"],
    ]);
    expect(book.groups({ ...one, recipients: [done] })).toEqual([]);
  });
});

describe("route and hashes", () => {
  test("one route key never names two ways out", () => {
    const key = (route: string) => planOf(`default: { route: { ${route} } }`).route.key;
    const keys = [
      "nextHop: 'a.example:25'",
      "nextHop: 'a.example:25', sourceAddress: 127.0.0.2",
      "nextHop: 'a.example:25', tls: required",
      "nextHop: 'a.example:25', tls: none",
      "nextHop: 'a.example:25', protocol: lmtp",
      "nextHop: 'a.example:25', helo: x.example",
      "nextHop: 'a.example:25', tls: required, credential: smart",
      "nextHop: 'a.example:26'",
      "nextHop: '[::1]:25'",
      `nextHop: '${"a".repeat(60)}.${"b".repeat(60)}.${"c".repeat(60)}:25'`,
      `nextHop: '${"a".repeat(60)}.${"b".repeat(60)}.${"c".repeat(61)}:25'`,
    ].map(key);
    expect(new Set(keys).size).toBe(keys.length);
    expect(keys[0]).toBe("a.example:25|");
    expect(keys[1]).toBe("a.example:25|127.0.0.2");
    expect(Math.max(...keys.map(({ length }) => length))).toBeLessThanOrEqual(128);
  });

  test("an IPv6 next hop is read without its brackets", () => {
    const { route } = planOf("default: { route: { nextHop: '[2001:db8::25]:24' } }");
    expect(route).toMatchObject({ host: "2001:db8::25", port: 24 });
  });

  test("settings hashes stay equal if nothing relevant changed", () => {
    const plain = planOf("");
    const changed = planOf(
      "default: { relay: { maxQueueTime: 1d }, spam: { onSpam: discard }, retention: { sent: 1d } }",
    );
    expect(changed.virus?.settingsHash).toBe(plain.virus?.settingsHash);
    expect(changed.spam?.settingsHash).toBe(plain.spam?.settingsHash);
    expect(changed.enrich?.settingsHash).toBe(plain.enrich?.settingsHash);
    const asked = planOf("default: { spam: { user: t }, changes: { geoip: off } }");
    expect(asked.spam?.settingsHash).not.toBe(plain.spam?.settingsHash);
    expect(asked.enrich?.settingsHash).not.toBe(plain.enrich?.settingsHash);
    expect(asked.virus?.settingsHash).toBe(plain.virus?.settingsHash);
  });

  test("the spam task names an engine if the rules do", () => {
    const plain = planOf("").spam;
    const named = planOf("default: { spam: { engine: rspamd } }").spam;
    expect(named?.settings).toMatchObject({ engine: "rspamd" });
    expect(plain?.settings).not.toHaveProperty("engine");
    expect(named?.settingsHash).not.toBe(plain?.settingsHash);
    expect(() => planOf("default: { spam: { engine: bogofilter } }")).toThrow(
      /must be spamd or rspamd/,
    );
  });

  test("retry, queue time and retention have their defaults", () => {
    const { relay, retentionMs } = planOf("");
    expect(relay.retryMs.map((ms) => ms / 60_000)).toEqual([5, 10, 20, 40, 60]);
    expect(relay.maxQueueMs / 86_400_000).toBe(5);
    expect(relay.onUnknown).toBe("resend");
    expect(retentionMs).toMatchObject({ sent: 7 * 86_400_000, quarantined: 30 * 86_400_000 });
    expect(retentionMs.dead).toBeUndefined();
  });
});
