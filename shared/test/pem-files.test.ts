import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readCertificate, readTrusted } from "../src/pem-files.ts";

let dir: string;
const at = (name: string) => join(dir, name);

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "rs-agent-pem-"));
  for (const name of ["one", "other"]) {
    const request = `req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=${name}`;
    const files = ["-keyout", at(`${name}.key`), "-out", at(`${name}.crt`)];
    execFileSync("openssl", [...request.split(" "), ...files], { stdio: "ignore" });
  }
  writeFileSync(at("both.pem"), Buffer.concat([read("one.crt"), read("one.key")]));
  writeFileSync(at("key-first.pem"), Buffer.concat([read("one.key"), read("one.crt")]));
  writeFileSync(at("text"), "this is no PEM");
  writeFileSync(at("empty"), "");
});
afterAll(() => rmSync(dir, { recursive: true }));

const read = (name: string) => readFileSync(at(name));
const named = (setting: string, name: string) => ({ setting, path: at(name) });

describe("a certificate and its key", () => {
  it.each([
    ["one.crt", "one.key"],
    ["both.pem", "both.pem"],
    ["key-first.pem", "key-first.pem"],
  ])("are read from %s and %s", async (cert, key) => {
    expect(await readCertificate(named("CERT", cert), named("KEY", key))).toEqual({
      cert: read(cert),
      key: read(key),
    });
  });

  it.each([
    ["one.crt", "none", /^KEY: ENOENT.*\/none'/],
    ["none", "one.key", /^CERT: ENOENT.*\/none'/],
    ["one.crt", "empty", /^KEY: .*\/empty: it is empty/],
    ["text", "one.key", /^CERT: .*\/text: no certificate in PEM/],
    ["one.crt", "text", /^KEY: .*\/text: no private key in PEM/],
    ["one.crt", "other.key", /^KEY: .*\/other\.key: the key does not fit .*\/one\.crt$/],
  ])("are refused from %s and %s, and the file is named", async (cert, key, message) => {
    await expect(readCertificate(named("CERT", cert), named("KEY", key))).rejects.toMatchObject({
      code: "CFG_INVALID",
      message: expect.stringMatching(message) as string,
    });
  });
});

it("reads certificates to be trusted, and no others", async () => {
  expect(await readTrusted(named("CA", "one.crt"))).toContain("BEGIN CERTIFICATE");
  await expect(readTrusted(named("CA", "one.key"))).rejects.toThrow(/^CA: .*no certificate in PEM/);
});
