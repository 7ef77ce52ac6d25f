import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it, onTestFinished } from "vitest";
import { eicar } from "@rs-agent/av-worker/eicar.ts";
import { gtube } from "@rs-agent/spam-worker/canary.ts";
import { createComposer, type ComposerOptions } from "../src/mails/composer.ts";
import { openCorpus } from "../src/mails/corpus.ts";
import { parseMix } from "../src/mails/mix.ts";
import { numberInHeader, numberOfSender } from "../src/mails/numbering.ts";
import { parseSizes } from "../src/mails/sizes.ts";
import { parseRecipientCount, parseTenants } from "../src/mails/tenants.ts";

const run = "00c0ffee";

function composer(given: Partial<ComposerOptions> = {}) {
  return createComposer({
    run,
    seed: 7,
    startedAt: new Date(0),
    mix: parseMix("clean:90,spam:8,virus:1,big:1"),
    sizes: parseSizes("4k"),
    bigBytes: 300_000,
    fromDomain: "flood.example",
    tenants: parseTenants("a.example,b.example"),
    recipients: parseRecipientCount("1-3"),
    ...given,
  });
}

const numbers = (count: number) => Array.from({ length: count }, (_, number) => number);

describe("the mails of a flood", () => {
  it("have exactly their shares, in another order each time", () => {
    const { mail } = composer();
    const kinds = numbers(300).map((number) => mail(number).kind);
    for (const from of [0, 100, 200]) {
      const some = kinds.slice(from, from + 100);
      const count = (kind: string) => some.filter((each) => each === kind).length;
      expect(["clean", "spam", "virus", "big"].map(count)).toEqual([90, 8, 1, 1]);
    }
    expect(kinds.slice(0, 100)).not.toEqual(kinds.slice(100, 200));
  });

  it("are all distinct, and each is recognized by field and SMTP sender", async () => {
    const { mail, bytes } = composer();
    const seen = new Set<string>();
    for (const number of numbers(200)) {
      const flood = mail(number);
      const raw = (await bytes(flood)).toString("latin1");
      const body = raw.slice(raw.indexOf("\r\n\r\n"));
      if (flood.kind === "clean") seen.add(body);
      expect(numberInHeader(raw.slice(0, raw.indexOf("\r\n\r\n") + 2), run)).toBe(number);
      expect(numberOfSender(flood.mailFrom, run)).toBe(number);
      expect(raw).not.toMatch(/(?<!\r)\n|^\./m);
    }
    expect(seen.size).toBe(180);
    expect(numberInHeader("X-Flood-Id: 11111111.5\r\n", run)).toBeUndefined();
  });

  it("are of their kind, and of the size that was asked for", async () => {
    const { mail, bytes } = composer();
    const of = async (kind: string) => {
      const number = numbers(100).find((each) => mail(each).kind === kind) ?? 0;
      return bytes(mail(number));
    };
    expect((await of("clean")).length).toBeGreaterThan(3_900);
    expect((await of("clean")).length).toBeLessThan(4_200);
    expect((await of("spam")).includes(gtube())).toBe(true);
    expect((await of("virus")).includes(eicar.toString("base64").slice(0, 60))).toBe(true);
    expect((await of("big")).length).toBeGreaterThan(400_000);
  });

  it("have recipients of their own in the tenants' domains, none twice", () => {
    const { mail } = composer();
    const all = numbers(100).flatMap((number) => mail(number).rcptTo);
    expect(new Set(all).size).toBe(all.length);
    expect(new Set(all.map((address) => address.split("@")[1]))).toEqual(
      new Set(["a.example", "b.example"]),
    );
    const lengths = new Set(numbers(100).map((number) => mail(number).rcptTo.length));
    expect(lengths).toEqual(new Set([1, 2, 3]));
  });

  it("spread over the sizes that were asked for", async () => {
    const { mail, bytes } = composer({
      mix: parseMix("clean"),
      sizes: parseSizes("2k:1,9k-20k:1"),
    });
    const sizes = await Promise.all(
      numbers(200).map(async (number) => (await bytes(mail(number))).length),
    );
    const small = sizes.filter((size) => size < 2_300).length;
    expect(small).toBeGreaterThan(60);
    expect(small).toBeLessThan(140);
    expect(sizes.filter((size) => size > 2_300 && size < 8_900)).toEqual([]);
  });
});

describe("a corpus", () => {
  const folder = async () => {
    const dir = await mkdtemp(join(tmpdir(), "rs-agent-corpus-"));
    onTestFinished(() => rm(dir, { recursive: true, force: true }));
    return dir;
  };
  const mbox =
    "From a@x.example Mon Nov 23 00:00:00 2026\nSubject: one\n\nFrom the start\n>From quoted\nno From\n\n" +
    "From b@x.example Mon Nov 23 00:00:01 2026\nSubject: two\n\nlast line";

  it("reads an mbox: a From_ line counts only after an empty line", async () => {
    const file = join(await folder(), "mail");
    await writeFile(file, mbox);
    const corpus = await openCorpus(file);
    // "From the start" follows an empty line. RFC 4155 has no other mark, so it starts a mail.
    expect(corpus.size).toBe(3);
    await writeFile(file, mbox.replace("\n\nFrom the", "\n\nfrom the"));
    const mails = await openCorpus(file);
    expect(mails.size).toBe(2);
    expect((await mails.read(0)).toString()).toBe(
      "Subject: one\r\n\r\nfrom the start\r\nFrom quoted\r\nno From\r\n",
    );
    expect((await mails.read(1)).toString()).toBe("Subject: two\r\n\r\nlast line\r\n");
  });

  it("reads a folder, and each mail gets its number and stays as it is", async () => {
    const dir = await folder();
    await writeFile(join(dir, "a.eml"), "Subject: a\r\n\r\n.dot\r\n");
    await writeFile(join(dir, "more.mbox"), mbox.replace("\n\nFrom the", "\n\nfrom the"));
    const corpus = await openCorpus(dir);
    expect(corpus.size).toBe(3);
    const { mail, bytes } = composer({ mix: parseMix("corpus"), corpus });
    expect((await bytes(mail(3))).toString()).toBe(
      `X-Flood-Id: ${run}.3\r\nSubject: a\r\n\r\n.dot\r\n`,
    );
  });

  it("says what is wrong with a path that has no mail", async () => {
    await expect(openCorpus(join(await folder(), "none"))).rejects.toThrow(/--corpus .*ENOENT/);
    await expect(openCorpus(await folder())).rejects.toThrow("has no mail");
  });
});
