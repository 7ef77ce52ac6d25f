import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { z } from "zod";
import { loadConfig } from "../src/config.ts";
import { mongoDbFileSettings } from "../src/mongodb-files.ts";

const schema = z.object({ MONGODB_URI: z.string(), ...mongoDbFileSettings });
let dir: string;
const at = (name: string) => join(dir, name);

beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "rs-agent-mongodb-files-"));
  writeFileSync(at("uri"), "mongodb+srv://cluster.example/?appName=x\n");
  writeFileSync(at("own"), "mongodb://ann:secret@db1/\n");
  writeFileSync(at("user"), "rs-agent\n");
  writeFileSync(at("password"), "p@ss/w:rd?\n");
  writeFileSync(at("empty"), "\n");
});
afterAll(() => rmSync(dir, { recursive: true }));

const credentials = () => ({
  MONGODB_USERNAME_FILE: at("user"),
  MONGODB_PASSWORD_FILE: at("password"),
});

describe("the database's address", () => {
  it.each<[string, () => NodeJS.ProcessEnv, string]>([
    ["itself", () => ({ MONGODB_URI: "mongodb://a,b/?c=d" }), "mongodb://a,b/?c=d"],
    ["a file", () => ({ MONGODB_URI_FILE: at("uri") }), "mongodb+srv://cluster.example/?appName=x"],
    [
      "itself and files for user and password, which may hold any characters",
      () => ({ MONGODB_URI: "mongodb://a,b:1/?c=d@e", ...credentials() }),
      "mongodb://rs-agent:p%40ss%2Fw%3Ard%3F@a,b:1/?c=d@e",
    ],
    [
      "three files",
      () => ({ MONGODB_URI_FILE: at("uri"), ...credentials() }),
      "mongodb+srv://rs-agent:p%40ss%2Fw%3Ard%3F@cluster.example/?appName=x",
    ],
  ])("is taken from %s", (_, env, uri) => {
    expect(loadConfig(schema, env()).MONGODB_URI).toBe(uri);
  });

  it.each<[string, () => NodeJS.ProcessEnv, RegExp]>([
    ["a file that is missing", () => ({ MONGODB_URI_FILE: at("none") }), /_URI_FILE: ENOENT.*none/],
    ["an empty one", () => ({ MONGODB_URI_FILE: at("empty") }), /_URI_FILE: .*empty is empty/],
    ["both", () => ({ MONGODB_URI: "mongodb://a", MONGODB_URI_FILE: at("uri") }), /both set/],
    [
      "a password that is missing",
      () => ({ MONGODB_URI: "mongodb://a", ...credentials(), MONGODB_PASSWORD_FILE: at("none") }),
      /_PASSWORD_FILE: ENOENT.*none/,
    ],
    [
      "a user without a password",
      () => ({ MONGODB_URI: "mongodb://a", MONGODB_USERNAME_FILE: at("user") }),
      /belong together/,
    ],
    ["a user without an address", credentials, /no MONGODB_URI/],
    ["two users", () => ({ MONGODB_URI_FILE: at("own"), ...credentials() }), /user of its own/],
  ])("is refused from %s, and no secret is shown", (_, env, message) => {
    let said: unknown;
    try {
      loadConfig(schema, env());
    } catch (error) {
      said = error;
    }
    expect(said).toMatchObject({
      code: "CFG_INVALID",
      message: expect.stringMatching(message) as string,
    });
    expect(String(said)).not.toMatch(/secret|p@ss|p%40ss/);
  });
});
