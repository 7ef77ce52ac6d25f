import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { policyDocumentSchema, type PolicyDocument } from "../../src/policy/document.ts";
import { bookSteps, createPolicyBook, type MailForPolicy } from "../../src/policy/effective.ts";
import { inSlices } from "../../src/slices.ts";
import { createLinearPolicy } from "./linear-policy.ts";

/** Overlapping networks, single addresses, IPv6, and IPv4 written as IPv6. */
const networks = [
  ...["10.0.0.0/8", "10.9.0.0/16", "10.9.1.0/24", "10.9.1.128/25", "10.9.1.129", "10.9.1.128/31"],
  ...["172.16.0.0/12", "192.0.2.7", "::ffff:192.0.2.8", "192.0.2.8/31"],
  ...[
    "2001:db8::/32",
    "2001:db8:a::/48",
    "2001:db8:a::/127",
    "2001:db8:a::5",
    "2001:db8:a:8000::/49",
  ],
];
const clients = [
  ...["10.1.1.1", "10.9.0.1", "10.9.1.1", "10.9.1.128", "10.9.1.129", "::ffff:10.9.1.129"],
  ...["::ffff:0a09:0181", "0:0:0:0:0:ffff:a09:181", "::10.9.1.129", "172.31.255.255", "172.32.0.0"],
  ...["192.0.2.7", "192.0.2.8", "192.0.2.9", "::ffff:c000:208", "2001:db8::1", "2001:DB8:A::5"],
  ...[
    "2001:db8:a::",
    "2001:db8:a::1",
    "2001:db8:a::2",
    "2001:db8:a:8000::1",
    "2001:db9::",
    "fe80::1%eth0",
  ],
  ...["", "unknown", "10.9.1", "010.9.1.129", "10.9.1.129/32"],
];
/** A domain below another, an IDN, and one that belongs to nobody. */
const domains = ["acme.example", "mail.acme.example", "xn--bcher-kva.example", "other.example"];
const writtenDomains = [
  ...domains,
  ...["ACME.Example", "acme.example.", "bücher.example", "BÜCHER.example", "x.mail.acme.example"],
  ...["example", "", "else.example"],
];
const locals = [
  "vip",
  "VIP",
  '"vip"',
  "vip+news",
  "vip+news-x",
  "vip-x+y",
  "postmaster",
  "bob",
  "",
];
const ruleSets = [
  {},
  { spam: { threshold: 7 } },
  { spam: { threshold: 7, highThreshold: 9 }, incoming: { virus: "off" } },
  { outgoing: { spam: { threshold: 8 }, changes: { disclaimer: { text: "Bye" } } } },
  { checks: { dlp: { settings: { words: ["a"] } } } },
  { checks: { dlp: { settings: { words: ["b"], more: 1 }, finding: "tag" } }, order: "parallel" },
  { checks: { dlp: "off", other: {} } },
  { route: { nextHop: "hop.example:25", sourceAddress: "127.0.0.2" } },
  { route: { nextHop: "[::1]:24", protocol: "lmtp" }, relay: { retry: ["1m"] } },
  { changes: { "sender-rewrite": { map: { "@acme.example": "new@other.example" } } } },
  { changes: { "sender-rewrite": { map: { "vip@acme.example": "new@mail.acme.example" } } } },
  { changes: { sign: "off", strip: "off" }, retention: { sent: "1d", dead: "never" } },
];

const maybe = <T>(one: fc.Arbitrary<T>) => fc.option(one, { nil: undefined });
const rules = fc.constantFrom(...ruleSets);
const address = fc
  .tuple(fc.constantFrom(...locals), fc.constantFrom(...writtenDomains))
  .map(([local, domain]) => `${local}@${domain}`);
const anyAddress = fc.oneof(
  { weight: 9, arbitrary: address },
  { weight: 1, arbitrary: fc.constantFrom("", "bob", "postmaster") },
);

/** The tenant that it belongs to, by number; 3 is nobody. */
const owner = fc.nat(3);
const tenantParts = fc.record({
  rules,
  recipientDelimiter: fc.constantFrom(undefined, "+", "+-"),
  hasKeys: fc.boolean(),
});

/** A policy that is consistent. */
const policy = fc
  .record({
    fallback: maybe(rules),
    tenants: fc.tuple(tenantParts, tenantParts, tenantParts),
    networkOwners: fc.array(owner, { minLength: networks.length, maxLength: networks.length }),
    domainOwners: fc.array(owner, { minLength: domains.length, maxLength: domains.length }),
    ofDomains: fc.array(fc.tuple(fc.nat(domains.length - 1), rules), { maxLength: 3 }),
    ofAddresses: fc.array(
      fc.tuple(
        fc.constantFrom("vip", "vip+news", "vip-x", "bob"),
        fc.nat(domains.length - 1),
        rules,
      ),
      { maxLength: 5 },
    ),
    revisions: fc.array(fc.nat(9), { minLength: 12, maxLength: 12 }),
  })
  .map(({ fallback, tenants, networkOwners, domainOwners, ofDomains, ofAddresses, revisions }) => {
    const owned = domains.filter((_, at) => domainOwners[at] !== 3);
    const ofTenant = (nth: number) => ({
      networks: networks.filter((_, at) => networkOwners[at] === nth),
      domains: domains.filter((_, at) => domainOwners[at] === nth),
    });
    const ids = new Map<string, object>();
    if (fallback !== undefined) ids.set("default", { scope: "default", rules: fallback });
    for (const [nth, { hasKeys, ...parts }] of tenants.entries()) {
      const tenantId = `t${String(nth)}`;
      const its = ofTenant(nth);
      const keys = hasKeys
        ? its.domains
            .slice(0, 1)
            .map((domain) => ({ domain, selector: tenantId, privateKey: "file:/k" }))
        : undefined;
      ids.set(`tenant:${tenantId}`, { scope: "tenant", tenantId, ...its, ...parts, keys });
    }
    for (const [at, its] of ofDomains) {
      const domain = domains[at] ?? "";
      if (owned.includes(domain)) ids.set(`domain:${domain}`, { scope: "domain", rules: its });
    }
    for (const [local, at, its] of ofAddresses) {
      const domain = domains[at] ?? "";
      if (owned.includes(domain))
        ids.set(`address:${local}@${domain}`, { scope: "address", rules: its });
    }
    return [...ids].map(([_id, fields], at) =>
      policyDocumentSchema.parse({ _id, revision: revisions[at] ?? 0, ...fields }),
    );
  });

const mail: fc.Arbitrary<MailForPolicy> = fc
  .record({
    client: fc.constantFrom(...clients),
    mailFrom: anyAddress,
    from: fc.array(address, { minLength: 1, maxLength: 2 }),
    knowsAddresses: fc.boolean(),
    recipients: fc.array(
      fc.record({
        address: anyAddress,
        outcome: fc.constantFrom(undefined, "open", "open", "sent"),
      }),
      { maxLength: 5 },
    ),
    via: fc.constantFrom("smtp", "smtp", "source", "dsn"),
    outgoing: maybe(fc.boolean()),
    incoming: maybe(fc.boolean()),
    tenantId: fc.constantFrom(undefined, undefined, "t0", "t1", "nobody"),
    scanOnly: maybe(fc.constant(true)),
  })
  .map(({ client, mailFrom, from, knowsAddresses, recipients, via, ...origin }) => ({
    smtp: { mailFrom, client: { address: client, name: "", helo: "" } },
    origin: { via, ...origin },
    header: {
      fromDomain: from[0]?.slice(from[0].lastIndexOf("@") + 1),
      ...(knowsAddresses && { fromAddresses: from }),
    },
    recipients,
  }));

describe("for any policy, the book answers as looking through everything does", () => {
  test("the plans of a mail, and who shares one", () => {
    fc.assert(
      fc.property(policy, fc.array(mail, { minLength: 1, maxLength: 8 }), (documents, mails) => {
        const book = createPolicyBook(documents);
        const linear = createLinearPolicy(documents);
        // Twice: what was looked up before must not change what follows.
        for (const one of [...mails, ...mails])
          expect(book.groups(one)).toEqual(linear.groups(one));
      }),
      { numRuns: 400 },
    );
  });

  test("the direction and tenant of each client", () => {
    fc.assert(
      fc.property(policy, fc.boolean(), (documents, outgoing) => {
        const book = createPolicyBook(documents);
        const linear = createLinearPolicy(documents);
        for (const client of clients)
          expect(book.directionOf(client, outgoing)).toEqual(linear.directionOf(client, outgoing));
      }),
      { numRuns: 300 },
    );
  });

  test("whose domains are ours", () => {
    fc.assert(
      fc.property(policy, (documents) => {
        const book = createPolicyBook(documents);
        const linear = createLinearPolicy(documents);
        for (const domain of writtenDomains)
          expect(book.acceptsRecipient(`bob@${domain}`, "incoming")).toBe(
            linear.owns(`bob@${domain}`),
          );
      }),
      { numRuns: 300 },
    );
  });

  test("the same in slices as at once", async () => {
    await fc.assert(
      fc.asyncProperty(policy, mail, async (documents, one) => {
        const book = await inSlices(bookSteps(documents, {}));
        expect(book.groups(one)).toEqual(createPolicyBook(documents).groups(one));
      }),
      { numRuns: 100 },
    );
  });
});

describe("what two claim is refused", () => {
  const claimed = fc.array(
    fc.tuple(fc.subarray(networks), fc.subarray(domains), fc.array(fc.constantFrom(...networks))),
    { minLength: 1, maxLength: 3 },
  );
  /** The same text for all spellings of a network. */
  const spelled = (network: string) =>
    network.replace("::ffff:", "").replace(/^([\d.]+)$/, "$1/32");

  test("with each claim but the first one named, and nothing else", () => {
    fc.assert(
      fc.property(claimed, (claims) => {
        const documents = claims.map(([ofNetworks, ofDomains, more], nth): PolicyDocument => {
          const tenantId = `t${String(nth)}`;
          const its = { networks: [...ofNetworks, ...more], domains: ofDomains };
          return {
            _id: `tenant:${tenantId}`,
            scope: "tenant",
            revision: 0,
            tenantId,
            ...its,
            rules: {},
          };
        });
        const seen = new Set<string>();
        const expected = documents.flatMap((document) => {
          if (document.scope !== "tenant") return [];
          const named = (list: "networks" | "domains") =>
            (document[list] ?? []).flatMap((entry, at) => {
              const key = `${list} ${list === "networks" ? spelled(entry) : entry}`;
              const isTwice = seen.has(key);
              seen.add(key);
              return isTwice ? [`${document._id} ${list} ${String(at)}: ${entry} is `] : [];
            });
          return [...named("networks"), ...named("domains")];
        });
        const told = refusalOf(documents);
        expect(
          told.map((line) => line.replace(/(?<= is )(listed twice|already tenant:t\d's)$/, "")),
        ).toEqual(expected);
      }),
      { numRuns: 500 },
    );
  });
});

function refusalOf(documents: readonly PolicyDocument[]): string[] {
  try {
    createPolicyBook(documents);
    return [];
  } catch (error) {
    return (error as Error).message.split("\n");
  }
}
