import { spawnSync } from "node:child_process";
import {
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { busKinds, parseAllowList, type BusKind } from "@rs-agent/shared/bus/allow-list.ts";
import { readSecretFile } from "@rs-agent/shared/bus/curve-key.ts";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { addKey, revokeKey } from "../../cli/src/key-folder.ts";
import { handOutKeys, keyFolderOf, makeKeys } from "../agent/bus-keys.ts";

const now = new Date("2026-03-01T08:00:00Z");
const root = dirname(dirname(import.meta.dirname));

describe("the keys of the bus in containers", () => {
  let bus: string;
  beforeEach(() => {
    bus = mkdtempSync(join(tmpdir(), "rs-agent-bus-keys-"));
  });
  afterEach(() => rmSync(bus, { recursive: true, force: true }));

  const publicKeyOf = (kind: BusKind) => readSecretFile(join(bus, kind, "service.key")).publicKey;
  const listOf = (kind: BusKind) =>
    parseAllowList(readFileSync(join(bus, kind, "allow.yaml"), "utf8"), kind);
  const modeOf = (...path: string[]) => statSync(join(bus, ...path)).mode & 0o777;

  it("are one for each kind, which its folder alone has beside the list", () => {
    expect(makeKeys(bus, now)).toBe("made");
    handOutKeys(bus);
    expect(new Set(busKinds.map(publicKeyOf)).size).toBe(busKinds.length);
    for (const kind of busKinds) {
      expect(readdirSync(join(bus, kind)).sort()).toEqual(["allow.yaml", "service.key"]);
      expect(listOf(kind).keysOf(kind)).toEqual([publicKeyOf(kind)]);
      expect([modeOf(kind), modeOf(kind, "service.key")]).toEqual([0o700, 0o600]);
    }
    expect(modeOf("keys")).toBe(0o700);
  });

  it("stay as they are when they are made again", () => {
    makeKeys(bus, now);
    handOutKeys(bus);
    const before = busKinds.map(publicKeyOf);
    expect(makeKeys(bus, now)).toBe("were there");
    handOutKeys(bus);
    expect(busKinds.map(publicKeyOf)).toEqual(before);
  });

  it("are made for a kind that a former release did not have", () => {
    makeKeys(bus, now);
    const keys = keyFolderOf(bus);
    const former = readFileSync(join(keys, "allow.yaml"), "utf8");
    writeFileSync(join(keys, "allow.yaml"), former.replace(/ *- name: relay\n(?: {4}.*\n)*/, ""));
    rmSync(join(keys, "relay.key"));
    expect(makeKeys(bus, now)).toBe("were there");
    handOutKeys(bus);
    expect(listOf("dispatcher").keysOf("relay")).toEqual([publicKeyOf("relay")]);
  });

  it("are made whole after a start that was killed halfway", () => {
    mkdirSync(join(bus, "keys.new"));
    expect(makeKeys(bus, now)).toBe("made");
    expect(readdirSync(bus)).toEqual(["keys"]);
  });

  it("are left alone where they were brought from another host", () => {
    makeKeys(bus, now);
    handOutKeys(bus);
    rmSync(keyFolderOf(bus), { recursive: true });
    const before = publicKeyOf("av-worker");
    expect(makeKeys(bus, now)).toBe("brought");
    expect(publicKeyOf("av-worker")).toBe(before);
    expect(readdirSync(bus)).not.toContain("keys");
  });

  it("are exchanged: the newest is handed out, the former one listed until it is revoked", () => {
    makeKeys(bus, now);
    handOutKeys(bus);
    const former = publicKeyOf("av-worker");
    addKey(keyFolderOf(bus), { name: "av-2", kinds: ["av-worker"] }, 0o600, now);
    expect(handOutKeys(bus)["av-worker"]).toBe("av-2");
    expect(listOf("dispatcher").keysOf("av-worker")).toEqual([former, publicKeyOf("av-worker")]);
    revokeKey(keyFolderOf(bus), "av-worker", now);
    handOutKeys(bus);
    expect(listOf("dispatcher").keysOf("av-worker")).toEqual([publicKeyOf("av-worker")]);
    expect(publicKeyOf("av-worker")).not.toBe(former);
  });

  it("are refused to a kind whose last one is revoked, and all others hear of that", () => {
    makeKeys(bus, now);
    handOutKeys(bus);
    revokeKey(keyFolderOf(bus), "enricher", now);
    expect(() => handOutKeys(bus)).toThrow("there is no key for enricher");
    expect(listOf("dispatcher").keysOf("enricher")).toEqual([]);
  });

  it("are kept by the command as rs-agent keys does it", () => {
    const env = { ...process.env, BUS_KEYS_DIR: bus };
    const run = (...args: string[]) => {
      const script = join(root, "deploy", "agent", "entrypoint.ts");
      const { status, stdout, stderr } = spawnSync(
        process.execPath,
        [script, "bus-keys", ...args],
        { env, encoding: "utf8" },
      );
      return { status, said: stdout + stderr };
    };
    expect(run()).toMatchObject({ status: 0, said: expect.stringContaining("made") as unknown });
    expect(run("add", "spam-2", "--kind", "spam-worker").status).toBe(0);
    expect(run("revoke", "no-such-key").status).not.toBe(0);
    expect(listOf("dispatcher").keysOf("spam-worker")).toHaveLength(2);
  });
});
