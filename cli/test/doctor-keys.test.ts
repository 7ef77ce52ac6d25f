import { generateKeyPairSync } from "node:crypto";
import { chmod, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, onTestFinished, test } from "vitest";
import { dkimRecord } from "../../start/samples/dkim-record.ts";
import { startNameServer, type Records } from "@rs-agent/kit/name-server.ts";
import { createDns } from "@rs-agent/shared/mail/authentication/dns.ts";
import { parsePolicyYaml } from "@rs-agent/shared/policy/yaml.ts";
import { diagnoseKeys } from "../src/doctor/dkim-keys.ts";
import { diagnosisText } from "../src/doctor/diagnosis.ts";

const pem = (type: "rsa" | "ed25519") =>
  (type === "rsa"
    ? generateKeyPairSync("rsa", { modulusLength: 2048 })
    : generateKeyPairSync("ed25519")
  ).privateKey
    .export({ type: "pkcs8", format: "pem" })
    .toString();
const rsa = pem("rsa");
const ed25519 = pem("ed25519");

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "doctor-keys-"));
  await writeFile(join(folder, "rsa.pem"), rsa);
  await writeFile(join(folder, "ed25519.pem"), ed25519);
});
afterAll(() => rm(folder, { recursive: true }));

const dnsAt = (server: string) => createDns({ servers: [server], timeoutMs: 1_000 });

/** The diagnoses of one key in a DNS with these records. */
async function diagnosed(file: string, records: Records, domain = "acme.company") {
  const dns = await startNameServer(records);
  onTestFinished(() => dns.close());
  const key = `{ domain: ${domain}, selector: s1, privateKey: "file:${join(folder, file)}" }`;
  const yaml = `tenants: { t: { domains: [${domain}], keys: [${key}] } }`;
  return diagnoseKeys(parsePolicyYaml(yaml, "p.yaml"), dnsAt(dns.address));
}

const at = "TXT s1._domainkey.acme.company";

test.each([
  ["rsa.pem", dkimRecord(rsa)],
  ["ed25519.pem", dkimRecord(ed25519)],
  // Without k it is RSA; blanks in p do not count; a record may have more than it needs.
  ["rsa.pem", dkimRecord(rsa).replace("k=rsa; ", "").replace("p=MII", "s=email; p=MII  ")],
])("a key in %s whose record is right is well", async (file, record) => {
  expect(await diagnosed(file, { [at]: [record] })).toEqual([
    {
      ...{ part: "DKIM key", ok: true },
      found: "readable and published: s1._domainkey.acme.company",
    },
  ]);
});

test.each([
  ["no record", {}, /readable, but no record is published for it$/],
  ["something else", { [at]: ["v=spf1 -all"] }, /no record is published for it$/],
  ["another key", { [at]: [dkimRecord(pem("rsa"))] }, /another key is published$/],
  ["another type of key", { [at]: [dkimRecord(ed25519)] }, /another key is published$/],
  ["a revoked key", { [at]: ["v=DKIM1; p="] }, /its record says that the key is revoked$/],
  [
    "two keys",
    { [at]: [dkimRecord(rsa), dkimRecord(rsa)] },
    /more than one key is published there/,
  ],
])("if the DNS has %s, it says what to publish", async (_what, records, found) => {
  const [only, ...others] = await diagnosed("rsa.pem", records);
  expect(others).toEqual([]);
  expect(only).toMatchObject({ part: "DKIM key", ok: false });
  expect(only?.found).toMatch(found);
  const strings = [...(only?.copy ?? "").matchAll(/"([^"]*)"/g)].map(([, text = ""]) => text);
  expect(strings.join("")).toBe(dkimRecord(rsa));
  expect(Math.max(...strings.map(({ length }) => length))).toBeLessThanOrEqual(255);
  if (only !== undefined) expect(diagnosisText(only).split("\n")).toContain(only.copy);
});

test("a key for testing is a warning", async () => {
  const [only] = await diagnosed("rsa.pem", { [at]: [dkimRecord(rsa).replace("; p", "; t=y; p")] });
  expect(only).toMatchObject({ ok: true, warning: true });
  expect(only?.found).toContain("t=y");
});

test("a reserved name is a warning, because somebody is trying things out", async () => {
  const [only] = await diagnosed("rsa.pem", {}, "acme.example");
  expect(only).toMatchObject({ ok: true, warning: true });
});

test("if no name server answers, it says so and guesses nothing", async () => {
  const key = `{ domain: acme.company, selector: s1, privateKey: "file:${join(folder, "rsa.pem")}" }`;
  const yaml = `tenants: { t: { domains: [acme.company], keys: [${key}] } }`;
  const [only] = await diagnoseKeys(parsePolicyYaml(yaml, "p.yaml"), dnsAt("127.0.0.1:1"));
  expect(only).toMatchObject({ ok: true, unknown: true });
  expect(only?.found).toContain("no name server says whether it is published");
  if (only !== undefined) expect(diagnosisText(only)).toMatch(/^DKIM key +NOT KNOWN: /);
});

test("a key that cannot be read is not well, whatever the DNS says", async () => {
  await writeFile(join(folder, "rubbish.pem"), "no key");
  await chmod(join(folder, "rubbish.pem"), 0o600);
  for (const [file, why] of [
    ["none.pem", /ENOENT/],
    ["rubbish.pem", /is not a private key in PEM form/],
  ] as const) {
    const [only] = await diagnosed(file, { [at]: [dkimRecord(rsa)] });
    expect(only).toMatchObject({ ok: false });
    expect(only?.found).toMatch(why);
    expect(only?.copy).toBeUndefined();
  }
});
