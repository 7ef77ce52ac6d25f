import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { curveKeyPair } from "zeromq";
import { anyWorker, parseAllowList } from "../../src/bus/allow-list.ts";
import {
  createCurveKey,
  decodeZ85,
  encodeZ85,
  formatSecretFile,
  isCurveKey,
  publicKeyOf,
  readSecretFile,
} from "../../src/bus/curve-key.ts";
import { openBusProtection, plaintextPhrase } from "../../src/bus/protection.ts";
import { systemClock } from "../../src/clock.ts";
import { createSilentLogger } from "../../src/logger.ts";
import { TerminalError } from "../../src/errors.ts";

let folder = "";
beforeEach(() => (folder = mkdtempSync(join(tmpdir(), "key-files-"))));
afterEach(() => rmSync(folder, { recursive: true }));

function write(name: string, text: string, mode = 0o600): string {
  const path = join(folder, name);
  writeFileSync(path, text);
  chmodSync(path, mode);
  return path;
}

test("Z85 is that of RFC 32", () => {
  const bytes = Buffer.from("864fd26fb559f75b", "hex");
  expect(encodeZ85(bytes)).toBe("HelloWorld");
  expect(decodeZ85("HelloWorld")).toEqual(bytes);
  for (const text of ["HelloWorl", "Hello World", "#####", "Hello~orld"]) {
    expect(decodeZ85(text)).toBeUndefined();
  }
});

test("the public half of a secret key is the one that libzmq has", () => {
  for (let round = 0; round < 20; round += 1) {
    const { publicKey, secretKey } = curveKeyPair();
    expect(publicKeyOf(secretKey)).toBe(publicKey);
  }
});

test("a key comes out of its file as it went in", () => {
  const key = createCurveKey();
  expect(isCurveKey(key.publicKey)).toBe(true);
  const path = write("a.key", formatSecretFile(key, "a", new Date()));
  expect(readSecretFile(path)).toEqual(key);
  chmodSync(path, 0o440);
  expect(readSecretFile(path)).toEqual(key);
});

test.each([0o644, 0o604, 0o602, 0o666])("a secret of mode %o is refused by name", (mode) => {
  const path = write("a.key", formatSecretFile(createCurveKey(), "a", new Date()), mode);
  expect(() => readSecretFile(path)).toThrow(`${path}: everybody on this host may`);
});

test("a secret file that is away, empty, or of two keys is refused by name", () => {
  const one = createCurveKey();
  const two = { ...one, publicKey: createCurveKey().publicKey };
  const paths = [
    join(folder, "nothing.key"),
    write("empty.key", ""),
    write("short.key", 'curve\n    secret-key = "short"\n'),
    write("two.key", formatSecretFile(two, "two", new Date())),
  ];
  for (const path of paths) {
    const thrown = expect.objectContaining({
      code: "CFG_BUS_KEYS",
      message: expect.stringContaining(path) as string,
    }) as Error;
    expect(() => readSecretFile(path)).toThrow(thrown);
  }
});

test("an allow list says what a key may act as, and why not", () => {
  const [one, two, own] = [createCurveKey(), createCurveKey(), createCurveKey()].map(
    (pair) => pair.publicKey,
  );
  const keys = [
    { name: "one", publicKey: one, kinds: ["av-worker", "spam-worker"] },
    { name: "two", publicKey: two, kinds: ["dispatcher"], revoked: "2026-01-31" },
    { name: "own", publicKey: own, kinds: ["dlp"] },
  ];
  const list = parseAllowList(JSON.stringify({ keys }), "allow.json");
  expect(list.keysOf("spam-worker")).toEqual([one]);
  expect(list.keysOf("dispatcher")).toEqual([]);
  expect(list.refuses(one, anyWorker)).toBeUndefined();
  expect(list.refuses(own, anyWorker)).toBeUndefined();
  expect(list.refuses(own, "dlp")).toBeUndefined();
  expect(list.refuses(own, "av-worker")).toMatch(/for dlp, not for av-worker/);
  expect(list.refuses(own, "dispatcher")).toMatch(/for dlp, not for dispatcher/);
  expect(list.refuses(one, "enricher")).toMatch(/for av-worker, spam-worker, not for enricher/);
  expect(list.refuses(two, "dispatcher")).toBe("its key is revoked");
  expect(list.refuses(createCurveKey().publicKey, "dispatcher")).toBe("its key is not listed");
  expect(list.refuses(undefined, "dispatcher")).toBe("its key is not listed");
});

const key = createCurveKey().publicKey;
const entry = { name: "a", publicKey: key, kinds: ["enricher"] };
test.each([
  ["not YAML", "keys: [", /allow\.yaml/],
  ["empty", "", /allow\.yaml/],
  ["of an unknown kind", { ...entry, kinds: ["ingest"] }, /kinds/],
  ["of no kind", { ...entry, kinds: [] }, /at least one kind/],
  ["of a key that is not one", { ...entry, publicKey: "x" }, /40 Z85 digits/],
  ["with a field that nobody reads", { ...entry, revokd: "now" }, /revokd/],
])("an allow list that is %s is refused whole, by name", (_what, given, says) => {
  const text = typeof given === "string" ? given : JSON.stringify({ keys: [given] });
  expect(() => parseAllowList(text, "allow.yaml")).toThrow(says);
  expect(() => parseAllowList(text, "allow.yaml")).toThrow(TerminalError);
});

test("half of the settings, or settings that contradict each other, are refused", () => {
  const BUS_KEY_FILE = write("a.key", formatSecretFile(createCurveKey(), "a", new Date()));
  const BUS_ALLOW_FILE = write("allow.yaml", JSON.stringify({ keys: [entry] }));
  const deps = { kind: "enricher", clock: systemClock, log: createSilentLogger() } as const;
  for (const settings of [
    { BUS_KEY_FILE },
    { BUS_ALLOW_FILE },
    { BUS_KEY_FILE, BUS_ALLOW_FILE, BUS_ALLOW_PLAINTEXT: plaintextPhrase },
  ]) {
    const thrown = expect.objectContaining({ code: "CFG_INVALID" }) as Error;
    expect(() => openBusProtection(settings, deps)).toThrow(thrown);
  }
});

test("with keys the bus may leave this host", () => {
  const BUS_KEY_FILE = write("a.key", formatSecretFile(createCurveKey(), "a", new Date()));
  const BUS_ALLOW_FILE = write("allow.yaml", JSON.stringify({ keys: [entry] }));
  const deps = { kind: "enricher", clock: systemClock, log: createSilentLogger() } as const;
  const protection = openBusProtection({ BUS_KEY_FILE, BUS_ALLOW_FILE }, deps);
  protection.check("tcp://0.0.0.0:*", "bind");
  expect(protection.allows("tcp://192.0.2.1:5")).toBe(true);
  protection.close();
});
