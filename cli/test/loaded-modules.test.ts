import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { mongodbUri } from "../../test/support/test-mongodb.ts";

/**
 * A command's cost is what it loads: modules are counted, because a time says little on a busy
 * machine.
 */
const bin = join(import.meta.dirname, "..", "bin");

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "cli-modules-"));
  const hook = `
    import { getCompileCacheDir, registerHooks } from "node:module";
    import { writeFileSync } from "node:fs";
    const urls = [];
    registerHooks({ load: (url, context, next) => (urls.push(url), next(url, context)) });
    process.on("exit", () => {
      const seen = { urls, cache: getCompileCacheDir() };
      writeFileSync(process.env.SEEN_FILE, JSON.stringify(seen));
    });`;
  await writeFile(join(folder, "hook.mjs"), hook);
});
afterAll(() => rm(folder, { recursive: true }));

interface Loaded {
  /** Files of ours and of packages. */
  count: number;
  packages: string[];
  /** Where Node keeps its compile cache. */
  cache: string | undefined;
}

async function loadedBy(program: string, args: string[], env: NodeJS.ProcessEnv = {}) {
  const seenFile = join(folder, "seen.json");
  const { PATH, HOME } = process.env;
  const file = join(bin, `${program}.mjs`);
  await promisify(execFile)(
    process.execPath,
    ["--import", join(folder, "hook.mjs"), file, ...args],
    { env: { PATH, HOME, RS_AGENT_RUN_DIR: folder, SEEN_FILE: seenFile, ...env } },
  );
  const seen = JSON.parse(await readFile(seenFile, "utf8")) as { urls: string[]; cache?: string };
  const files = seen.urls.filter((url) => url.startsWith("file:"));
  const names = files.flatMap((url) => {
    const [, name] = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(url) ?? [];
    return name === undefined ? [] : [name];
  });
  const loaded: Loaded = { count: files.length, packages: [...new Set(names)], cache: seen.cache };
  return loaded;
}

describe("a command loads only what it needs itself", () => {
  test("the help needs only the parser", async () => {
    const { packages, count, cache } = await loadedBy("rs-agent", ["--help"]);
    expect(packages).toEqual(["commander", "close-with-grace"]);
    expect(count).toBeLessThan(25);
    expect(cache).toMatch(/node_modules\/\.cache\/rs-agent-compiled/);
  });

  test("status needs the driver and the schemas, and nothing that other commands need", async () => {
    const env = { MONGODB_URI: mongodbUri(), MONGODB_DB: "cli_modules" };
    const { packages, count } = await loadedBy("rs-agent", ["status"], env);
    expect(packages).toContain("mongodb");
    const others = ["zeromq", "msgpackr", "yaml", "ora", "mailauth", "smtp-server"];
    expect(packages.filter((name) => others.includes(name))).toEqual([]);
    expect(count).toBeLessThan(500);
  });

  test.each([
    ["rs-agent", "keys", "--help"],
    ["rs-agent", "policy", "apply", "--help"],
    ["rs-agent", "flood", "--help"],
    ["clamav-cli", "--help"],
  ])("%s %s needs no driver", async (program, ...args) => {
    const { packages } = await loadedBy(program, args);
    expect(packages).not.toContain("mongodb");
  });
});
