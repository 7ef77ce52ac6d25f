import { mkdtemp, readFile, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { inflateRawSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { eicar } from "@rs-agent/av-worker/eicar.ts";
import { canonicalize } from "@rs-agent/shared/mail/canonical.ts";
import { createPolicyBook } from "@rs-agent/shared/policy/effective.ts";
import { dkimRecord } from "../../samples/dkim-record.ts";
import { people, sampleClients, samples } from "../../samples/samples.ts";
import { zip } from "@rs-agent/av-worker/zip.ts";
import { encryptedZip } from "@rs-agent/kit/mails/zip.ts";
import { samplePolicy } from "../../src/sample-policy.ts";

const now = new Date("2027-03-05T06:07:08Z");
const all = samples(now);
const named = (name: string) => {
  const found = all.find((sample) => sample.name === name);
  if (found === undefined) throw new Error(`no sample ${name}`);
  return found;
};

describe("the sample mails", () => {
  it("are these", () => {
    expect(all.map(({ name }) => name)).toEqual([
      "plain-text",
      "html-inline-image",
      "attachment-5mb",
      "non-ascii-header",
      "eight-bit",
      "empty-body",
      "multipart-signed",
      "outgoing",
      "eicar-attachment",
      "eicar-zip",
      "eicar-nested-mail",
      "gtube",
      "encrypted-zip",
      "two-policies",
      "bounce",
      "forged-headers",
      "broken-mime",
    ]);
  });

  it("are the same each time, except for Date and Message-ID", () => {
    const later = samples(new Date(now.getTime() + 1_000));
    const timeless = (raw: Buffer) =>
      raw.toString("latin1").replace(/^(Date|Message-ID): .*\r\n/gm, "");
    expect(samples(now).map(({ raw }) => raw)).toEqual(all.map(({ raw }) => raw));
    for (const [at, sample] of all.entries()) {
      expect(timeless(later[at]?.raw ?? Buffer.alloc(0)) === timeless(sample.raw)).toBe(true);
      expect(later[at]?.raw.equals(sample.raw)).toBe(false);
    }
  });

  it("are canonical, and name an outcome for each recipient", () => {
    for (const { raw, rcptTo, expected } of all) {
      expect(canonicalize(raw)).toBe(raw);
      expect(expected.map(({ address }) => address)).toEqual(rcptTo);
    }
  });

  it("have 8-bit bytes only where they say so", () => {
    expect(all.filter(({ body }) => body === "8BITMIME").map(({ name }) => name)).toEqual([
      "eight-bit",
    ]);
  });

  it("hold EICAR in three wrappings and GTUBE twice, but no file of the repository does", async () => {
    const encoded = eicar.toString("base64").slice(0, 60);
    expect(named("eicar-attachment").raw.toString()).toContain(encoded);
    expect(named("eicar-nested-mail").raw.toString()).toContain(encoded);
    const inZip = zip([{ name: "a", content: eicar }])
      .toString("base64")
      .slice(0, 20);
    expect(named("eicar-zip").raw.toString()).toContain(inZip.slice(0, 12));
    const gtube = /XJS\*C4JDBQADN1\.NSBN3\*2IDNEN\*GTUBE/;
    expect(named("gtube").raw.toString()).toMatch(gtube);
    expect(named("two-policies").raw.toString()).toMatch(gtube);
    const dir = new URL("../../samples/", import.meta.url);
    for (const file of await readdir(dir)) {
      const text = await readFile(new URL(file, dir), "utf8");
      expect(text).not.toContain(eicar.toString().slice(0, 40));
      expect(text).not.toMatch(gtube);
    }
  });

  it("have a 5 MB attachment in one of them", () => {
    expect(named("attachment-5mb").raw.length).toBeGreaterThan(5 * 1024 * 1024 * (4 / 3));
  });
});

describe("zip", () => {
  it("makes archives whose files come out again", () => {
    const archive = zip([{ name: "a.txt", content: Buffer.from("hello") }]);
    expect(archive.readUInt32LE(0)).toBe(0x04034b50);
    const length = archive.readUInt32LE(18);
    expect(inflateRawSync(archive.subarray(35, 35 + length)).toString()).toBe("hello");
    expect(archive.readUInt32LE(archive.length - 22)).toBe(0x06054b50);
  });

  it("marks encrypted files, and nothing of them is in the clear", () => {
    const content = Buffer.from("secret ".repeat(20));
    const files = [{ name: "a.txt", content }];
    const archive = encryptedZip(files, "password", Buffer.alloc(12));
    expect(archive.readUInt16LE(6) & 1).toBe(1);
    const plain = zip(files);
    const deflated = plain.subarray(35, 35 + plain.readUInt32LE(18));
    expect(archive.includes(deflated)).toBe(false);
    expect(archive.readUInt32LE(18)).toBe(deflated.length + 12);
  });
});

describe("the sample policy", () => {
  let dir: string;
  beforeEach(async () => {
    dir = await mkdtemp(join(tmpdir(), "rs-agent-samples-"));
  });
  afterEach(() => rm(dir, { recursive: true, force: true }));

  it("accepts every sample from its client, and none for strangers from outside", () => {
    const book = createPolicyBook(samplePolicy(join(dir, "key.pem")));
    for (const { direction, rcptTo } of all) {
      expect(book.directionOf(sampleClients[direction], false).direction).toBe(direction);
      for (const recipient of rcptTo)
        expect(book.acceptsRecipient(recipient, direction)).toBe(true);
    }
    expect(book.acceptsRecipient(people.jonas, "incoming")).toBe(false);
  });

  it("signs outgoing mail of the tenant, and nothing else", () => {
    const book = createPolicyBook(samplePolicy(join(dir, "key.pem")));
    const outgoing = {
      direction: "outgoing",
      tenantId: "northwind",
      mailFrom: people.anna,
      headerFromDomain: "northwind.example",
      recipient: people.jonas,
    } as const;
    expect(book.planFor(outgoing).demandedSignature).toEqual({
      domain: "northwind.example",
      selector: "rs1",
    });
    const foreign = { ...outgoing, headerFromDomain: "partner.example" };
    expect(book.planFor(foreign).demandedSignature).toBeUndefined();
  });

  it("has a key whose public half can be published (RFC 6376)", async () => {
    const file = join(dir, "key.pem");
    samplePolicy(file);
    const pem = await readFile(file, "utf8");
    expect(dkimRecord(pem)).toMatch(/^v=DKIM1; k=rsa; p=MII[A-Za-z0-9+/]+=*$/);
  });
});
