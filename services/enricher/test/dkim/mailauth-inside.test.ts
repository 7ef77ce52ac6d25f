import { generateKeyPairSync } from "node:crypto";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { DkimSigner, type ParsedHeaders } from "mailauth/lib/dkim/dkim-signer.js";
import { expect, it } from "vitest";

const { privateKey } = generateKeyPairSync("ed25519");
const usable = privateKey.export({ type: "pkcs8", format: "pem" }).toString();
const mail = "Subject: one\r\nFrom: a@example.org\r\nsubject: two\r\n\r\nbody\r\n";

async function signed(Signer: typeof DkimSigner, key: string): Promise<DkimSigner> {
  const signer = new Signer({
    strict: true,
    signTime: new Date(0),
    signatureData: [
      {
        ...{ signingDomain: "example.org", selector: "s", privateKey: key },
        ...{ canonicalization: "relaxed/relaxed", headerList: ["From", "Subject"] },
      },
    ],
  });
  await pipeline(Readable.from([Buffer.from(mail)], { objectMode: true }), signer);
  return signer;
}

it("the signer asks its own messageHeaders with the fields from top to bottom, and h= has their casedKey from the bottom up", async () => {
  let seen: string[] = [];
  class Renaming extends DkimSigner {
    override async messageHeaders(headers: ParsedHeaders): Promise<void> {
      seen = headers.parsed.map(({ key, casedKey }) => `${key} ${casedKey}`);
      const [top] = headers.parsed;
      if (top !== undefined) top.casedKey = "Subject: From";
      await super.messageHeaders(headers);
    }
  }
  const { signatureHeaders, errors } = await signed(Renaming, usable);
  expect(seen).toEqual(["subject Subject", "from From", "subject subject"]);
  expect(errors).toEqual([]);
  expect(signatureHeaders).toHaveLength(1);
  const unfolded = signatureHeaders.join("").replace(/\r\n\s+/g, " ");
  expect(/\bh=([^;]*)/.exec(unfolded)?.[1]?.replaceAll(" ", "")).toBe("subject:From:Subject:From");
});

it("an unusable key shows in errors alone", async () => {
  const { signatureHeaders, errors } = await signed(DkimSigner, "no key");
  expect(signatureHeaders).toEqual([]);
  expect(errors).toHaveLength(1);
  expect(errors[0]?.err).toBeInstanceOf(Error);
});
