import { generateKeyPairSync } from "node:crypto";
import { dkimSign } from "mailauth/lib/dkim/sign.js";
import { describe, expect, it, onTestFinished } from "vitest";
import {
  startNameServer,
  type NameServer,
  type NameServerOptions,
  type Records,
} from "@rs-agent/kit/name-server.ts";
import { checkDkim } from "../../../src/mail/authentication/dkim.ts";
import { createDns } from "../../../src/mail/authentication/dns.ts";
import { proveSender } from "../../../src/mail/authentication/sender-proof.ts";
import { checkSpf } from "../../../src/mail/authentication/spf.ts";
import { newMail } from "../../../../test/support/new-mail.ts";

const client = "192.0.2.7";
const plain =
  "From: Ann <ann@sender.example>\r\nTo: bob@acme.example\r\nSubject: words\r\n" +
  "Message-ID: <1@sender.example>\r\n\r\nOne line.\r\n";

const pair = generateKeyPairSync("rsa", {
  modulusLength: 2048,
  privateKeyEncoding: { type: "pkcs8", format: "pem" },
  publicKeyEncoding: { type: "spki", format: "der" },
});
const keyRecord = `v=DKIM1; k=rsa; p=${pair.publicKey.toString("base64")}`;

interface Signing {
  domain?: string;
  raw?: string;
  expires?: Date;
  signedAt?: Date;
  maxBodyLength?: number;
}

/** The mail with a signature in front. */
async function signed({ domain = "sender.example", raw = plain, ...more }: Signing = {}) {
  const key = { signingDomain: domain, selector: "s1", privateKey: pair.privateKey };
  const { maxBodyLength, signedAt, expires } = more;
  const { signatures } = await dkimSign(Buffer.from(raw), {
    ...key,
    signatureData: [{ ...key, ...(maxBodyLength !== undefined && { maxBodyLength }) }],
    ...(signedAt && { signTime: signedAt }),
    ...(expires && { expires }),
  });
  return Buffer.from(signatures + raw);
}

async function dns(records: Records, options: NameServerOptions = {}): Promise<NameServer> {
  const server = await startNameServer(records, options);
  onTestFinished(() => server.close());
  return server;
}

interface Asked {
  raw?: Buffer;
  mailFrom?: string;
  address?: string;
  direction?: "incoming" | "outgoing";
  withinMs?: number;
  receivedAt?: Date;
}

async function proof(server: NameServer, asked: Asked = {}) {
  const { raw = Buffer.from(plain), mailFrom = "ann@sender.example", address = client } = asked;
  const mail = newMail({
    direction: asked.direction ?? "incoming",
    smtp: { mailFrom, rcptTo: [], client: { address, name: "", helo: "mx.sender.example" } },
    ...(asked.receivedAt && { receivedAt: asked.receivedAt }),
  });
  let reads = 0;
  const readRaw = () => {
    reads += 1;
    return Promise.resolve(raw);
  };
  const found = await proveSender(mail, readRaw, {
    ask: createDns({ servers: [server.address], timeoutMs: 200 }),
    withinMs: asked.withinMs ?? 30_000,
    hostname: "mx.acme.example",
  });
  return { ...found, reads };
}

const spfOf = (record: string): Records => ({ "TXT sender.example": [record] });
const keyAt = (domain: string): Records => ({ [`TXT s1._domainkey.${domain}`]: [keyRecord] });

describe("the sender of a failed mail may be told", () => {
  it("if the mail is outgoing: nobody is asked", async () => {
    const server = await dns({});
    expect(await proof(server, { direction: "outgoing" })).toMatchObject({ kind: "proven" });
    expect(server.asked).toEqual([]);
  });

  it.each([
    ["by its address", "v=spf1 ip4:192.0.2.0/24 -all"],
    ["by a name", "v=spf1 a:mx.sender.example -all"],
    ["by its MX", "v=spf1 mx -all"],
    ["by another's record", "v=spf1 include:spf.provider.example -all"],
  ])("if SPF lists the client %s; the mail is not even read", async (_, record) => {
    const server = await dns({
      ...spfOf(record),
      "A mx.sender.example": [client],
      "MX sender.example": ["10 mx.sender.example"],
      "TXT spf.provider.example": ["v=spf1 ip4:192.0.2.7 -all"],
    });
    const found = await proof(server);
    expect(found).toMatchObject({
      kind: "proven",
      detail: "SPF pass for sender.example",
      reads: 0,
    });
  });

  it.each(["sender.example", "mail.sender.example", "SENDER.example"])(
    "if a signature of %s holds: it is aligned with the sender",
    async (domain) => {
      const server = await dns(keyAt(domain.toLowerCase()));
      const found = await proof(server, { raw: await signed({ domain }) });
      expect(found).toMatchObject({
        kind: "proven",
        detail: expect.stringMatching(/^DKIM pass for /) as string,
      });
    },
  );

  it("if the sender is below the signing domain", async () => {
    const server = await dns(keyAt("sender.example"));
    const mailFrom = "bounce+7@news.sender.example";
    expect(await proof(server, { raw: await signed(), mailFrom })).toMatchObject({
      kind: "proven",
    });
  });

  it("if the signature was good when the mail came in, and has expired since", async () => {
    const server = await dns(keyAt("sender.example"));
    const day = 86_400_000;
    const times = {
      signedAt: new Date(Date.now() - 9 * day),
      expires: new Date(Date.now() - 5 * day),
    };
    const raw = await signed(times);
    const receivedAt = new Date(Date.now() - 7 * day);
    expect(await proof(server, { raw, receivedAt })).toMatchObject({ kind: "proven" });
    const late = await proof(server, { raw, receivedAt: new Date(Date.now() - day) });
    expect(late).toMatchObject({ kind: "unproven", why: "unverified" });
  });
});

describe("the sender of a failed mail is not told", () => {
  it.each([
    ["has no SPF record", {}, "none"],
    ["names other clients", spfOf("v=spf1 ip4:198.51.100.0/24 -all"), "fail"],
    ["is not sure about others", spfOf("v=spf1 ip4:198.51.100.1 ~all"), "softfail"],
    ["says nothing of this client", spfOf("v=spf1 ?all"), "neutral"],
    ["has a record that is wrong", spfOf("v=spf1 ip4:oops -all"), "permerror"],
    ["includes itself forever", spfOf("v=spf1 include:sender.example -all"), "permerror"],
  ])("if its domain %s and nothing is signed", async (_, records: Records, result) => {
    const found = await proof(await dns(records));
    expect(found).toMatchObject({
      kind: "unproven",
      why: "unverified",
      detail: `SPF ${result} for sender.example, no aligned DKIM signature`,
    });
  });

  it("if another domain has signed: its key is not even asked for", async () => {
    const server = await dns(keyAt("spammer.example"));
    const raw = await signed({ domain: "spammer.example" });
    expect(await proof(server, { raw })).toMatchObject({ kind: "unproven", why: "unverified" });
    expect(server.asked.filter((question) => question.includes("_domainkey"))).toEqual([]);
  });

  it("if the two domains only share a public suffix", async () => {
    const server = await dns(keyAt("evil.co.uk"));
    const raw = await signed({ domain: "evil.co.uk" });
    const found = await proof(server, { raw, mailFrom: "ann@honest.co.uk" });
    expect(found).toMatchObject({ kind: "unproven" });
  });

  it("if the mail was changed after it was signed", async () => {
    const server = await dns(keyAt("sender.example"));
    const raw = Buffer.from((await signed()).toString().replace("One line", "Two lines"));
    const found = await proof(server, { raw });
    expect(found).toMatchObject({ kind: "unproven", why: "unverified" });
    expect(found.detail).toContain("DKIM fail for sender.example (body hash did not verify)");
  });

  it("if something was added after the signed part", async () => {
    const server = await dns(keyAt("sender.example"));
    const body = "One line.\r\n";
    const raw = await signed({ maxBodyLength: body.length });
    const longer = Buffer.concat([raw, Buffer.from("And an advertisement.\r\n")]);
    expect(await proof(server, { raw })).toMatchObject({ kind: "proven" });
    expect(await proof(server, { raw: longer })).toMatchObject({ kind: "unproven" });
  });

  it("if the key is being tested", async () => {
    const server = await dns({
      "TXT s1._domainkey.sender.example": [keyRecord.replace("k=rsa", "k=rsa; t=y")],
    });
    const found = await proof(server, { raw: await signed() });
    expect(found).toMatchObject({ kind: "unproven", why: "unverified" });
    expect(found.detail).toContain("its key is being tested");
  });

  it.each(["", "not an address"])("by SPF if the client is %j", async (address) => {
    const server = await dns(spfOf("v=spf1 +all"));
    expect(await proof(server, { address })).toMatchObject({ kind: "unproven", why: "unverified" });
  });

  it.each(["postmaster", "ann@[192.0.2.7]", "ann@"])("if it is %s", async (mailFrom) => {
    const found = await proof(await dns({}), { mailFrom });
    expect(found).toMatchObject({ kind: "unproven", why: "unverified" });
  });
});

describe("name servers that fail", () => {
  it.each(["SERVFAIL", "REFUSED", "silent"] as const)(
    "with %s prove nothing, and the finding says that nothing is known",
    async (trouble) => {
      const server = await dns(spfOf("v=spf1 +all"), { trouble: () => trouble });
      const found = await proof(server, { raw: await signed() });
      expect(found).toMatchObject({ kind: "unproven", why: "dns" });
    },
  );

  it("are asked again, and so is the next one", async () => {
    const records = spfOf("v=spf1 ip4:192.0.2.7 -all");
    let lost = 0;
    const forgetful = await dns(records, { trouble: () => (++lost === 1 ? "silent" : undefined) });
    expect(await proof(forgetful)).toMatchObject({ kind: "proven" });
    const broken = await dns(records, { trouble: () => "SERVFAIL" });
    const servers = [broken.address, (await dns(records)).address];
    const question = { mailFrom: "ann@sender.example", client: { address: client, helo: "" } };
    const ask = createDns({ servers, timeoutMs: 200 });
    const found = await checkSpf({ ...question, ask, withinMs: 30_000, hostname: "mx" });
    expect(found.result).toBe("pass");
  });

  it("are no obstacle if a signature holds all the same", async () => {
    const server = await dns(keyAt("sender.example"), {
      trouble: (question) => (question === "TXT sender.example" ? "SERVFAIL" : undefined),
    });
    expect(await proof(server, { raw: await signed() })).toMatchObject({ kind: "proven" });
  });

  it("that are silent end with the time for the whole check", async () => {
    const server = await dns({}, { trouble: () => "silent" });
    const found = await proof(server, { raw: await signed(), withinMs: 50 });
    expect(found).toMatchObject({ kind: "unproven", why: "dns" });
  });
});

describe("the checks themselves", () => {
  const ask = ({ address }: NameServer) => createDns({ servers: [address], timeoutMs: 200 });
  const { signal } = new AbortController();

  it("look at a few of many signatures only, the wanted ones", async () => {
    const server = await dns(keyAt("sender.example"));
    const others = Array.from(
      { length: 2_000 },
      (_, at) =>
        `DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=a${at}.sender.example; s=s${at};\r\n` +
        ` h=From; l=${at}; bh=AAAA; b=AAAA\r\n`,
    ).join("");
    const own = await signed();
    const top = own.subarray(0, own.length - plain.length);
    const found = await checkDkim({
      raw: Buffer.concat([top, Buffer.from(others + plain)]),
      ask: ask(server),
      at: new Date(),
      isWanted: (domain) => domain.endsWith("sender.example"),
      signal,
    });
    expect(found).toHaveLength(10);
    expect(found[0]).toMatchObject({ domain: "sender.example", selector: "s1", result: "pass" });
  });

  it("find all signatures if all are wanted", async () => {
    const server = await dns({ ...keyAt("sender.example"), ...keyAt("list.example") });
    const inner = await signed();
    const outer = await signed({ domain: "list.example", raw: inner.toString() });
    const found = await checkDkim({ raw: outer, ask: ask(server), at: new Date(), signal });
    expect(found.map(({ domain, result }) => `${domain} ${result}`).sort()).toEqual([
      "list.example pass",
      "sender.example pass",
    ]);
  });

  it("accept an IPv4 client that is written as IPv6", async () => {
    const server = await dns(spfOf("v=spf1 ip4:192.0.2.7 -all"));
    const found = await checkSpf({
      mailFrom: '"odd @ one"@sender.example',
      client: { address: "::ffff:192.0.2.7", helo: "mx" },
      ask: ask(server),
      withinMs: 30_000,
      hostname: "mx.acme.example",
    });
    expect(found).toEqual({ result: "pass", domain: "sender.example" });
  });
});
