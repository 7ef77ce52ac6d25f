import { chmod, mkdir, mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { MongoClient } from "mongodb";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import { cacheFolderOf, loadMongoDbConfig } from "../src/mongodb/config.ts";
import { findProgram } from "../src/processes/find-program.ts";
import { runCommand } from "../src/processes/run-command.ts";
import { buildRustServer, cachedRustServer } from "../src/mongodb/rust-server.ts";
import { startServerProcess } from "../src/mongodb/server-process.ts";
import { startMongoDb } from "../src/mongodb/mongodb.ts";

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "rs-agent-start-mongodb-"));
});
afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

/** Puts a program into a folder that stands first on the PATH. */
async function program(name: string, script: string): Promise<string> {
  const bin = join(folder, "bin");
  await mkdir(bin, { recursive: true });
  await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`);
  await chmod(join(bin, name), 0o755);
  return bin;
}

/** Only providers that a test makes are reachable: no PATH of the machine, an empty cache. */
function start(env: NodeJS.ProcessEnv, reports: string[] = []) {
  return startMongoDb({
    cacheDir: join(folder, "cache"),
    dataDir: join(folder, "data"),
    report: (text) => reports.push(text),
    env,
  });
}

/** Marks the download of mongod as just failed, so that no test asks the internet. */
async function withoutDownload(): Promise<void> {
  await mkdir(join(folder, "cache", "mongod"), { recursive: true });
  const mark = `${new Date().toISOString()}\nno internet in this test`;
  await writeFile(join(folder, "cache", "mongod", "download-failed"), mark);
}

describe("npm run mongo:build", () => {
  const build = (path: string, reports: string[] = []) =>
    buildRustServer({
      cacheDir: join(folder, "cache"),
      path,
      env: { PATH: `${path}:/usr/bin:/bin` },
      report: (text) => reports.push(text),
    });

  it("builds the server with cargo where startMongoDb looks for it, once", async () => {
    const bin = await program(
      "cargo",
      `echo "$@" >> ${folder}/asked
      for root in "$@"; do :; done
      mkdir -p "$root/bin"; cp "$0" "$root/bin/secantusd-rs"
      echo "Compiling something"; echo "Finished"`,
    );
    const reports: string[] = [];
    const file = await build(bin, reports);
    expect(file).toBe(cachedRustServer(join(folder, "cache")));
    expect(await build(bin)).toBe(file);
    const asked = (await readFile(join(folder, "asked"), "utf8")).trim().split("\n");
    expect(asked).toHaveLength(1);
    expect(asked[0]).toMatch(/^install secantus-mdb --version \S+ --ignore-rust-version --root /);
    expect(reports.at(-1)).toBe("Finished");
    expect(reports.join()).not.toContain("Compiling");
  });

  it("says what to install if there is no cargo, and what cargo said if it failed", async () => {
    await expect(build(folder)).rejects.toThrow(/no cargo on the PATH: install Rust .*rustup/);
    const bin = await program("cargo", 'echo "error: no cmake here" >&2; exit 101');
    await expect(build(bin)).rejects.toThrow(/cargo did not build .*\nerror: no cmake here/);
  });
});

describe("startMongoDb", () => {
  it("starts a writable primary on a free port, keeps its data and ends it", async () => {
    const options = { dataDir: join(folder, "data"), report: () => undefined };
    const first = await startMongoDb(options);
    const client = new MongoClient(first.uri);
    const hello = await client.db("admin").command({ hello: 1 });
    expect(hello).toMatchObject({ isWritablePrimary: true });
    expect(hello.setName).toEqual(expect.any(String));
    await client.db("x").collection("y").insertOne({ kept: true });
    await client.close();
    await first.stop();
    await first.stop();
    expect(() => process.kill(first.pid, 0)).toThrow();

    const second = await startMongoDb(options);
    const again = new MongoClient(second.uri);
    expect(await again.db("x").collection("y").findOne()).toMatchObject({ kept: true });
    await again.close();
    await second.stop();
    expect(second.server).toMatch(/^(mongod|SecantusDB) \d/);
    expect(second.durability).toMatch(/journal|synced/);
  });

  it("waits for a server that begins to listen only after some seconds, as after a crash", async () => {
    const dataDir = join(folder, "data");
    const quick = await startMongoDb({ dataDir, report: () => undefined });
    const words = (await readFile(`/proc/${quick.pid}/cmdline`, "utf8")).split("\0");
    await quick.stop();
    const ours = words.findIndex((word) => word === "--port" || word === "--dbpath");
    const [real = "", ...args] = words.slice(0, ours);
    const bin = await program("slow", 'sleep 4; exec "$@"');
    const kind = real.endsWith("mongod") ? "mongod" : "secantus";
    const slow = {
      kind,
      file: join(bin, "slow"),
      args: [real, ...args],
      source: "a test",
    } as const;
    const server = await startServerProcess(slow, join(dataDir, "slow"));
    await server.stop();
    expect(server.version).toMatch(/^\d/);
  });

  it("says what it tried and why nothing worked", async () => {
    await withoutDownload();
    const starting = start({ PATH: join(folder, "bin") });
    await expect(starting).rejects.toThrow(TerminalError);
    const error = (await starting.catch((caught: unknown) => caught)) as TerminalError;
    expect(error.code).toBe("SETUP_MISSING");
    for (const part of [
      "set MONGODB_URI",
      "mongod: no mongod on the PATH",
      "secantusd-rs: no secantusd-rs",
      "memory-server: the download failed",
      "no internet in this test",
      "secantusd-py: not installed: python3",
    ])
      expect(error.message).toContain(part);
  });

  it("goes on to the next provider if one does not start, and tells why at the end", async () => {
    await withoutDownload();
    const bin = await program("mongod", "echo 'illegal instruction' >&2; exit 4");
    const reports: string[] = [];
    const error = await start({ PATH: bin }, reports).catch((caught: unknown) => caught);
    expect(reports).toContain("starting mongod (on the PATH)");
    expect((error as Error).message).toContain("illegal instruction");
    expect((error as Error).message).toContain("secantusd-rs:");
  });

  it("takes only the provider that RS_AGENT_MONGODB names", async () => {
    const bin = await program("mongod", "exit 4");
    const forced = start({ PATH: bin, RS_AGENT_MONGODB: "mongod" });
    await expect(forced).rejects.toMatchObject({ code: "SETUP_FAILED" });
    const missing = start({ PATH: "/nowhere", RS_AGENT_MONGODB: "secantusd-rs" });
    await expect(missing).rejects.toMatchObject({
      code: "SETUP_MISSING",
      message: expect.not.stringContaining("secantusd-py") as string,
    });
    const unknown = start({ RS_AGENT_MONGODB: "oracle" });
    await expect(unknown).rejects.toMatchObject({ code: "CFG_INVALID" });
  });
});

describe("the cache folder", () => {
  it("is RS_AGENT_CACHE, else in XDG_CACHE_HOME, else in ~/.cache", () => {
    const folderFor = (env: NodeJS.ProcessEnv) => cacheFolderOf(loadMongoDbConfig(env));
    expect(folderFor({ RS_AGENT_CACHE: "/c", XDG_CACHE_HOME: "/x" })).toBe("/c");
    expect(folderFor({ XDG_CACHE_HOME: "/x" })).toBe("/x/rs-agent");
    expect(folderFor({})).toMatch(/\/\.cache\/rs-agent$/);
  });
});

describe("a program of the set-up", () => {
  it("is found on the PATH only if it can be run", async () => {
    const bin = await program("tool", "true");
    await writeFile(join(bin, "text"), "no program");
    expect(await findProgram("tool", `/nowhere:${bin}`)).toBe(join(bin, "tool"));
    expect(await findProgram("text", bin)).toBeUndefined();
  });

  it("ends with what it said, or with why it was ended", async () => {
    const lines: string[] = [];
    const bin = await program("tool", 'echo one; echo two >&2; [ "$1" != wait ] || exec sleep 60');
    const tool = join(bin, "tool");
    const onLine = (line: string) => lines.push(line);
    expect((await runCommand(tool, [], { silenceMs: 20_000, onLine })).ok).toBe(true);
    expect(lines.sort()).toEqual(["one", "two"]);
    const silent = await runCommand(tool, ["wait"], { silenceMs: 300 });
    expect(silent).toMatchObject({
      ok: false,
      output: expect.stringContaining("no sign") as string,
    });
    const missing = await runCommand(join(bin, "none"), [], { silenceMs: 300 });
    expect(missing).toMatchObject({
      ok: false,
      output: expect.stringContaining("ENOENT") as string,
    });
  });
});
