import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { createCurveKey, formatSecretFile } from "@rs-agent/shared/bus/curve-key.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { avWorkerConfigSchema } from "../src/config.ts";

const least = { BUS_DISPATCHERS: "tcp://127.0.0.1:5000" };

describe("the av-worker's settings", () => {
  it("take clamd addresses in the form of clamd.conf", () => {
    const { AV_CLAMD } = loadConfig(avWorkerConfigSchema, {
      ...least,
      AV_CLAMD: "10.0.0.1:3310, clamd2, [::1]:3311, /run/clamav/clamd.ctl, unix:/a",
    });
    expect(AV_CLAMD.map(({ text }) => text)).toEqual([
      "10.0.0.1:3310",
      "clamd2:3310",
      "[::1]:3311",
      "/run/clamav/clamd.ctl",
      "/a",
    ]);
  });

  it("have defaults that fit a clamd on the same host", () => {
    const config = loadConfig(avWorkerConfigSchema, least);
    expect(config.AV_CLAMD).toMatchObject([{ host: "127.0.0.1", port: 3310 }]);
    expect(config.AV_ALLOW_BLIND).toEqual([]);
  });

  it("name every wrong one in one message", () => {
    const load = () =>
      loadConfig(avWorkerConfigSchema, {
        ...least,
        AV_CLAMD: "host:99999,a b",
        AV_ALLOW_BLIND: "encrypted,everything",
        AV_DEPTH: "0",
      });
    for (const wrong of ["99999", "a b", "AV_DEPTH", "AV_ALLOW_BLIND"]) {
      expect(load).toThrow(wrong);
    }
  });
});

describe("an av-worker whose keys cannot be used ends with exit code 78 and names the file", () => {
  const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));
  let folder = "";
  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "av-worker-keys-"));
    const secret = formatSecretFile(createCurveKey(), "av-worker", new Date());
    for (const [name, mode] of [
      ["good.key", 0o600],
      ["open.key", 0o644],
    ] as const) {
      writeFileSync(join(folder, name), secret);
      chmodSync(join(folder, name), mode);
    }
    writeFileSync(join(folder, "broken.yaml"), "keys: 1");
  });
  afterAll(() => rmSync(folder, { recursive: true }));

  it.each([
    ["away", "none.key", "broken.yaml", "none.key"],
    ["for everybody to read", "open.key", "broken.yaml", "open.key"],
    ["without a list", "good.key", "none.yaml", "none.yaml"],
    ["with a list that is none", "good.key", "broken.yaml", "broken.yaml"],
  ])("%s", async (_what, key, list, named) => {
    const env = {
      ...least,
      BUS_KEY_FILE: join(folder, key),
      BUS_ALLOW_FILE: join(folder, list),
    };
    const child = spawn(process.execPath, [main], { env, stdio: ["ignore", "ignore", "pipe"] });
    const ended = once(child, "exit") as Promise<[number]>;
    const [said, [code]] = await Promise.all([text(child.stderr), ended]);
    expect(said).toContain(`CFG_BUS_KEYS: ${join(folder, named)}`);
    expect(code).toBe(78);
  });
});
