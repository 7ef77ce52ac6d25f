import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { loadCliConfig, withRunningSystem } from "../src/config.ts";

let root: string;
beforeEach(async () => {
  root = await mkdtemp(join(tmpdir(), "cli-config-"));
});
afterEach(() => rm(root, { recursive: true }));

test("a running system is found by the file that it left, and the environment goes first", async () => {
  await mkdir(join(root, ".run"));
  await writeFile(join(root, ".run", "rs-agent.env"), "MONGODB_URI=mongodb://a\nMONGODB_DB=left\n");
  expect(withRunningSystem({ MONGODB_DB: "mine" }, root)).toEqual({
    MONGODB_URI: "mongodb://a",
    MONGODB_DB: "mine",
  });
});

test("without such a file the environment is all", () => {
  expect(withRunningSystem({ A: "b" }, root)).toEqual({ A: "b" });
});

test("who does something is the user, or whom RS_AGENT_USER names", () => {
  const env = { MONGODB_URI: "mongodb://a" };
  expect(loadCliConfig(env).by).not.toBe("");
  expect(loadCliConfig({ ...env, RS_AGENT_USER: "x" }).by).toBe("x");
});
