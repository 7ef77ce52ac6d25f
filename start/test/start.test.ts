import { execFile, spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { MongoClient } from "mongodb";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { StartResult } from "../src/result.ts";
import { startSystem } from "@rs-agent/kit/system/system.ts";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const main = join(root, "start", "src", "main.ts");
const cli = join(root, "cli", "bin", "rs-agent.mjs");

let runDir: string;
beforeEach(() => {
  runDir = mkdtempSync(join(tmpdir(), "rs-agent-test-start-"));
});
const children: ChildProcess[] = [];
afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGTERM");
    await once(child, "exit");
  }
  rmSync(runDir, { recursive: true, force: true });
});

/** As for `npm start`, but without the servers of the test's environment. */
function environment(): NodeJS.ProcessEnv {
  const own = ["MONGODB_URI", "MONGODB_DB", "AV_CLAMD", "SPAM_SPAMD", "RELAY_NEXT_HOP"];
  const inherited = Object.entries(process.env).filter(([name]) => !own.includes(name));
  return { ...Object.fromEntries(inherited), RS_AGENT_RUN_DIR: runDir };
}

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

async function run(script: string, args: string[], env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  return new Promise((resolve) => {
    const options = { cwd: root, env: { ...environment(), ...env }, maxBuffer: 10_000_000 };
    execFile(process.execPath, [script, ...args], options, (error, stdout, stderr) => {
      resolve({ code: Number(error?.code ?? 0), stdout, stderr });
    });
  });
}

function start(...args: string[]): Promise<Ended> {
  return run(main, args);
}

describe("npm start", () => {
  it("takes every sample mail to its fate and prints one JSON document (I1)", async () => {
    const { code, stdout, stderr } = await start("--exit", "--json");
    const result = JSON.parse(stdout) as StartResult;
    const wrong = result.mails.filter(({ recipients }) =>
      recipients.some(({ expected, outcome }) => expected !== outcome),
    );
    expect(wrong, stderr).toEqual([]);
    expect(result.mails.length).toBeGreaterThan(10);
    expect(result.conservation).toMatchObject({ holds: true, open: 0 });
    expect(code).toBe(0);
  });

  it("keeps running after the table until it is told to stop, and then drains", async () => {
    const child = spawn(process.execPath, [main], { cwd: root, env: environment() });
    children.push(child);
    let text = "";
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    await expect.poll(() => text).toContain("Ctrl-C drains and stops.");
    expect(text).toContain("✓ quarantined");
    expect(text).toMatch(/SMTP listens on +127\.0\.0\.1:\d+/);
    const lastWords = text.slice(text.indexOf("SMTP listens")).replaceAll(/\/\S+/g, "");
    expect(lastWords.split("\n").filter((line) => line.length > 80)).toEqual([]);

    const settings = join(runDir, "rs-agent.env");
    expect(statSync(settings).mode & 0o777).toBe(0o600);
    const status = await run(cli, ["status", "--json"]);
    expect(status.stderr).toBe("");
    expect(JSON.parse(status.stdout)).toMatchObject({ waiting: [], paused: [] });
    const second = await start("--exit");
    expect(second.stderr).toMatch(
      /^SETUP_FAILED: another start \(process \d+\) runs in this folder/,
    );

    child.kill("SIGINT");
    const [code] = (await once(child, "exit")) as [number];
    expect(code).toBe(0);
    expect(text).toContain("draining ingest");
    expect(text.trimEnd()).toMatch(
      /Drained and stopped\. npm start -- --keep goes on with its data\.$/,
    );
    expect(existsSync(settings)).toBe(false);
  });

  it("stops whatever it has begun if Ctrl-C comes while it starts", async () => {
    const child = spawn(process.execPath, [main], { cwd: root, env: environment() });
    children.push(child);
    let text = "";
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    await expect.poll(() => text).toContain("waiting for");
    child.kill("SIGINT");
    const [code] = (await once(child, "exit")) as [number];
    expect(code).toBe(130);
    expect(text.trimEnd()).toMatch(/Stopped; nothing is left running\.$/);
  });

  it.each([
    [
      { MONGODB_URI: "mongodb://127.0.0.1:1/" },
      1,
      /^STORE_UNREACHABLE: the database of MONGODB_URI: /,
    ],
    [{ MONGODB_URI: "nonsense" }, 78, /^CFG_INVALID: MONGODB_URI is not a MongoDB connection/],
    [{ AV_CLAMD: "nowhere" }, 78, /^CFG_INVALID: .*must be host:port or the path.*AV_CLAMD/s],
    [{ RELAY_NEXT_HOP: "nowhere" }, 78, /^CFG_INVALID: .*must be host:port.*RELAY_NEXT_HOP/s],
    [{ RS_AGENT_SMTP: "192.0.2.1:25" }, 1, /^SETUP_FAILED: RS_AGENT_SMTP: cannot listen at 192/],
    [{ RS_AGENT_RUN_DIR: "/etc/passwd" }, 1, /^SETUP_FAILED: .*RS_AGENT_RUN_DIR names another/],
  ])("names what is wrong before it starts anything: %j", async (env, code, words) => {
    const ended = await run(main, ["--exit"], env);
    const lines = ended.stderr.split("\n").filter((line) => !line.startsWith("- looking for"));
    expect(lines.join("\n")).toMatch(words);
    expect(ended.stderr).not.toMatch(/^ {4}at /m);
    expect(ended.code).toBe(code);
  });

  it("says if there is nothing that --keep could go on with", async () => {
    const { code, stderr } = await start("--keep", "--exit");
    expect(stderr).toContain(`--keep: there is no data from an earlier start in ${runDir}.`);
    expect(code).toBe(0);
  });

  it("names an unknown option, in few words", async () => {
    const { code, stderr } = await start("--exsit");
    expect(stderr).toMatch(/^CFG_INVALID: Unknown option '--exsit'/);
    expect(stderr).not.toMatch(/^ {4}at /m);
    expect(code).toBe(78);
  });
});

describe("the system", () => {
  it("restarts what was killed, service or database, at the same address, and leaves nothing running", async () => {
    const trouble: string[] = [];
    const system = await startSystem({
      runDir,
      counts: { "spam-worker": 0, "av-worker": 0 },
      onTrouble: (text) => trouble.push(text),
    });
    const { smtp } = system;
    try {
      const killed = [system.kill("ingest"), system.kill("dispatcher")];
      await system.untilReady();
      const pids = [...system.pids().ingest, ...system.pids().dispatcher];
      expect(pids).toHaveLength(2);
      for (const pid of killed) expect(pids).not.toContain(pid);
      expect(system.smtp).toBe(smtp);
      expect(trouble).toHaveLength(2);

      process.kill(system.mongodb.pid ?? 0, "SIGKILL");
      await expect.poll(() => trouble).toHaveLength(4);
      expect(trouble.slice(2)).toEqual([
        "mongodb ended unexpectedly and is restarted; mail waits",
        "mongodb runs again",
      ]);
      await using client = new MongoClient(system.mongodb.uri);
      expect(await client.db("admin").command({ ping: 1 })).toMatchObject({ ok: 1 });
    } finally {
      await system.stop();
    }
    expect(Object.values(system.pids()).flat()).toEqual([]);
  });
});
