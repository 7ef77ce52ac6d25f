import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { CommanderError } from "commander";
import { busKinds, parseAllowList } from "@rs-agent/shared/bus/allow-list.ts";
import { createCurveKey, readSecretFile } from "@rs-agent/shared/bus/curve-key.ts";
import { runCli } from "./run-cli.ts";

let parent = "";
let folder = "";

beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), "rs-agent-keys-"));
  folder = join(parent, "bus");
});
afterEach(() => rmSync(parent, { recursive: true }));

const keys = (...args: string[]) => runCli(["keys", ...args], {});
const fileOf = (name: string) => join(folder, name);
const modeOf = (name: string) => statSync(fileOf(name)).mode & 0o777;
const listText = () => readFileSync(fileOf("allow.yaml"), "utf8");
const list = () => parseAllowList(listText(), "allow.yaml");

test("init makes a secret for each kind, and a list that lets each play just that", async () => {
  await keys("init", folder);
  for (const kind of busKinds) {
    expect(modeOf(`${kind}.key`)).toBe(0o600);
    expect(list().keysOf(kind)).toEqual([readSecretFile(fileOf(`${kind}.key`)).publicKey]);
    expect(listText()).not.toContain(readSecretFile(fileOf(`${kind}.key`)).secretKey);
  }
  expect(modeOf("allow.yaml")).toBe(0o644);
});

test("init overwrites nothing", async () => {
  await keys("init", folder);
  const before = listText();
  await expect(keys("init", folder)).rejects.toMatchObject({ code: "CLI_REFUSED" });
  expect(listText()).toBe(before);
});

test("secrets are readable for the group if that is asked for, whatever the umask", async () => {
  const umask = process.umask(0o077);
  try {
    await keys("init", folder, "--group-readable");
  } finally {
    process.umask(umask);
  }
  expect(modeOf("dispatcher.key")).toBe(0o440);
});

test("add makes a key for several kinds, and keeps what people wrote into the list", async () => {
  await keys("init", folder);
  writeFileSync(fileOf("allow.yaml"), `${listText()}  # asked for by Ann\n`);
  await keys("add", folder, "host-2", "--kind", "av-worker", "spam-worker", "--comment", "rack 2");
  expect(listText()).toContain("# asked for by Ann");
  const { publicKey } = readSecretFile(fileOf("host-2.key"));
  for (const kind of ["av-worker", "spam-worker"] as const) {
    expect(list().keysOf(kind)).toContain(publicKey);
  }
  expect(list().refuses(publicKey, "enricher")).toMatch(/listed for av-worker, spam-worker/);
});

test("add lists a key made elsewhere without making one", async () => {
  await keys("init", folder);
  const { publicKey } = createCurveKey();
  await keys("add", folder, "theirs", "--kind", "enricher", "--public-key", publicKey);
  expect(list().refuses(publicKey, "enricher")).toBeUndefined();
  expect(() => statSync(fileOf("theirs.key"))).toThrow("ENOENT");
});

test.each([
  ["a name that is taken", ["dispatcher", "--kind", "enricher"]],
  ["a name that is a path", ["../evil", "--kind", "enricher"]],
  ["a public key that is not one", ["x", "--kind", "enricher", "--public-key", "short"]],
])("add refuses %s, and leaves the list as it was", async (_what, args) => {
  await keys("init", folder);
  const before = listText();
  await expect(keys("add", folder, ...args)).rejects.toMatchObject({ code: "CFG_BUS_KEYS" });
  expect(listText()).toBe(before);
});

test("add refuses an unknown kind", async () => {
  await keys("init", folder);
  await expect(keys("add", folder, "x", "--kind", "ingest")).rejects.toThrow(CommanderError);
});

test("revoke takes a name or a key, once, and the key may no longer act as anything", async () => {
  await keys("init", folder);
  const [enricher = ""] = list().keysOf("enricher");
  await keys("revoke", folder, "av-worker");
  await keys("revoke", folder, enricher);
  expect(list().keysOf("av-worker")).toEqual([]);
  expect(list().refuses(enricher, "enricher")).toBe("its key is revoked");
  for (const again of ["av-worker", "nobody"]) {
    await expect(keys("revoke", folder, again)).rejects.toMatchObject({ code: "CLI_REFUSED" });
  }
});

test("ls shows every key within 80 columns, and whole as JSON", async () => {
  await keys("init", folder);
  await keys("add", folder, "av-worker-of-the-seventh-host", "--kind", ...busKinds);
  await keys("revoke", folder, "spam-worker");
  const { out } = await keys("ls", folder);
  for (const { publicKey, name } of list().keys) {
    expect(out).toContain(publicKey);
    expect(out).toContain(name);
  }
  for (const line of out.split("\n")) expect(line.length).toBeLessThanOrEqual(80);
  expect(out).toMatch(/spam-worker +revoked 2/);
  const json = JSON.parse((await keys("ls", folder, "--json")).out) as unknown[];
  expect(json).toHaveLength(busKinds.length + 1);
  expect(json[0]).toMatchObject({ name: "dispatcher", secretFile: fileOf("dispatcher.key") });
});

test("a folder without a list is named", async () => {
  await expect(keys("ls", folder)).rejects.toThrow(fileOf("allow.yaml"));
});
