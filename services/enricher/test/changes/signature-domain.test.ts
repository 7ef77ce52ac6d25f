import { dkimVerify } from "mailauth/lib/dkim/verify.js";
import { describe, expect, it } from "vitest";
import { headerSummary } from "@rs-agent/shared/mail/header-summary.ts";
import { createPolicyBook } from "@rs-agent/shared/policy/effective.ts";
import { parsePolicyYaml } from "@rs-agent/shared/policy/yaml.ts";
import { loadSigningKey } from "../../src/dkim/key.ts";
import { enriched, mailOf, pemOf, signChange, unableOutput } from "../mail-to-enrich.ts";

const pem = pemOf("ed25519");
const indented = pem.trim().replaceAll("\n", "\n          ");

/**
 * acme has keys for two of its four domains, keyless has none; acme's senders are rewritten by
 * `map`.
 */
function bookOf(map: string | undefined) {
  const yaml = `
tenants:
  acme:
    networks: [192.0.2.1]
    domains: [acme.example, new.example, old.example, plain.example]
    keys:
      - domain: acme.example
        selector: s1
        privateKey: |
          ${indented}
      - domain: new.example
        selector: s1
        privateKey: |
          ${indented}
    rules:
      changes: { sender-rewrite: ${map === undefined ? "off" : `{ map: ${map} }`} }
  keyless:
    networks: [192.0.2.2]
    domains: [keyless.example]
  other:
    networks: [192.0.2.3]
    domains: [other.example]
    keys:
      - domain: other.example
        selector: s1
        privateKey: |
          ${indented}
`;
  return createPolicyBook(parsePolicyYaml(yaml, "policy.yaml"));
}

interface Sent {
  map?: string;
  client?: string;
  /** What the record holds of the header, if that differs from what is read today. */
  header?: { fromDomain?: string };
}

/**
 * Planned by the policy like the dispatcher does it, from what the record holds, and then enriched.
 */
function planned(raw: Buffer, { map, client = "192.0.2.1", header }: Sent = {}) {
  const [group] = bookOf(map).groups({
    smtp: { mailFrom: "bounce@acme.example", client: { address: client, name: "", helo: "" } },
    origin: { via: "smtp" },
    header: header ?? headerSummary(raw),
    recipients: [{ address: "bob@partner.example" }],
  });
  const { demandedSignature, enrich } = group?.plan ?? {};
  const { changes = [], noKey } = enrich?.settings ?? {};
  return { demandedSignature, changes, noKey: noKey === true };
}

async function left(raw: Buffer, how: Sent = {}) {
  const { demandedSignature, changes, noKey } = planned(raw, how);
  const { final, text, notes, signature } = await enriched(raw, changes, {}, {}, { noKey });
  const { record } = await loadSigningKey(pem);
  const { results } = await dkimVerify(final, { resolver: () => Promise.resolve([[record]]) });
  const passes = results
    .filter(({ signingDomain }) => signingDomain !== undefined)
    .map(({ signingDomain, status }) => `${signingDomain}: ${status.result}`);
  // I10: what policy demands is what was made.
  expect(signature).toEqual(demandedSignature);
  const [from] = /^From:.*$/m.exec(text) ?? [];
  return { from: from?.trim(), passes, notes, text };
}

const from = (field: string) => mailOf(`From: ${field}`, "To: bob@partner.example", "", "x");
const noKey = (domain: string) =>
  `not signed: the tenant has no key for ${domain}, the domain of the From that leaves`;

describe("the signature's domain (I10)", () => {
  it.each([
    ["a domain without a key", "{ '@old.example': new@new.example }", "ann@old.example"],
    ["a domain with a key", "{ '@acme.example': new@new.example }", "ann@acme.example"],
    ["one address", "{ ann@acme.example: new@new.example }", "ann@acme.example"],
    ["a foreign domain", "{ '@partner.example': new@new.example }", "ann@partner.example"],
  ])("is that of the From that leaves: from %s to one with a key", async (_, map, address) => {
    const { from: field, passes, notes } = await left(from(`Ann <${address}>`), { map });
    expect({ field, passes, notes }).toEqual({
      field: "From: Ann <new@new.example>",
      passes: ["new.example: pass"],
      notes: [],
    });
  });

  it.each([
    ["has no key", "plain.example"],
    ["is another tenant's", "other.example"],
    ["is nobody's", "stranger.example"],
  ])("does not exist if that domain %s: unsigned, with a note", async (_, domain) => {
    const map = `{ '@acme.example': new@${domain} }`;
    const { from: field, passes, notes } = await left(from("ann@acme.example"), { map });
    expect(field).toBe(`From: new@${domain}`);
    expect({ passes, notes }).toEqual({ passes: [], notes: [noKey(domain)] });
  });

  it("stays that of a From that the map does not name", async () => {
    const map = "{ bob@acme.example: new@new.example, '@old.example': new@new.example }";
    expect((await left(from("ann@acme.example"), { map })).passes).toEqual(["acme.example: pass"]);
  });

  it("is the one domain in which several authors end up, or none", async () => {
    const both = "{ '@old.example': a@new.example, ann@acme.example: b@new.example }";
    const joined = await left(from("x@old.example, ann@acme.example"), { map: both });
    expect(joined.passes).toEqual(["new.example: pass"]);
    const parted = await left(from("bob@acme.example, ann@acme.example"), { map: both });
    expect(parted.passes).toEqual([]);
    expect(parted.notes).toEqual(["not signed: its From has no domain, or more than one"]);
  });

  it("also holds for a record that knows only the domain", async () => {
    const header = { fromDomain: "old.example" };
    const map = "{ '@old.example': new@new.example }";
    expect((await left(from("ann@old.example"), { map, header })).passes).toEqual([
      "new.example: pass",
    ]);
  });

  it("keeps back a mail whose From leaves differently than planned", async () => {
    const header = { fromDomain: "acme.example" };
    const map = "{ ann@acme.example: new@new.example }";
    const raw = from("ann@acme.example");
    const { changes } = planned(raw, { map, header });
    const { permanent, reason } = await unableOutput(raw, changes);
    expect(permanent).toBe(true);
    expect(reason).toMatch(/From leaves with the domain new\.example.*for acme\.example/);
    expect(await unableOutput(raw, [signChange(pem)])).toMatchObject({ permanent: true });
  });
});

describe("a mail that is not signed", () => {
  it("keeps its bytes if a byte order mark precedes From, and the note says so", async () => {
    const raw = mailOf(
      "\xef\xbb\xbfFrom: Ann <ann@acme.example>",
      "To: bob@partner.example",
      "",
      "x",
    );
    const { passes, notes, text } = await left(raw);
    expect(passes).toEqual([]);
    expect(text.endsWith(raw.toString("latin1"))).toBe(true);
    expect(notes).toEqual([
      "not signed: a UTF-8 byte order mark (EF BB BF) precedes its From, which is therefore not a From header",
    ]);
  });

  it.each([
    ["no From", ["To: bob@partner.example"], "it has no From header"],
    ["two of them", ["From: a@acme.example", "From: b@acme.example"], "it has 2 From headers"],
    ["nobody's name", ["From: nobody"], "its From has no domain, or more than one"],
  ])("says why with %s", async (_, fields, why) => {
    const { passes, notes } = await left(mailOf(...fields, "", "x"));
    expect({ passes, notes }).toEqual({ passes: [], notes: [`not signed: ${why}`] });
  });

  it("says nothing if the tenant has no key at all", async () => {
    const { passes, notes } = await left(from("ann@keyless.example"), { client: "192.0.2.2" });
    expect({ passes, notes }).toEqual({ passes: [], notes: [] });
  });
});
