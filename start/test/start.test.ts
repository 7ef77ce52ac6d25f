import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { StartResult } from "../src/result.ts";
import { startSystem } from "../src/system.ts";

const root = dirname(dirname(dirname(fileURLToPath(import.meta.url))));
const main = join(root, "start", "src", "main.ts");
const limitMs = 120_000;

let runDir: string;
beforeEach(() => {
  runDir = mkdtempSync(join(tmpdir(), "rs-agent-test-start-"));
});
afterEach(() => rmSync(runDir, { recursive: true, force: true }));

/** As `npm start` does, but for servers of the test's environment. */
function environment(): NodeJS.ProcessEnv {
  const own = ["MONGODB_URI", "MONGODB_DB", "AV_CLAMD", "SPAM_SPAMD", "RELAY_NEXT_HOP"];
  const inherited = Object.entries(process.env).filter(([name]) => !own.includes(name));
  return { ...Object.fromEntries(inherited), RS_AGENT_RUN_DIR: runDir };
}

async function start(...args: string[]) {
  return new Promise<{ code: number; stdout: string; stderr: string }>((resolve) => {
    const options = { cwd: root, env: environment(), maxBuffer: 10_000_000 };
    execFile(process.execPath, [main, ...args], options, (error, stdout, stderr) => {
      resolve({ code: Number(error?.code ?? 0), stdout, stderr });
    });
  });
}

describe("npm start", { timeout: limitMs }, () => {
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

  it("goes on after the table until it is told to stop, and then drains", async () => {
    const child = spawn(process.execPath, [main], { cwd: root, env: environment() });
    let text = "";
    child.stderr.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    await expect.poll(() => text, { timeout: limitMs }).toContain("Ctrl-C drains and stops.");
    expect(text).toContain("✓ quarantined");
    expect(text).toMatch(/SMTP listens on +127\.0\.0\.1:\d+/);
    child.kill("SIGINT");
    const [code] = (await once(child, "exit")) as [number];
    expect(code).toBe(0);
    expect(text).toContain("draining ingest");
  });

  it("names an option that there is not, in few words", async () => {
    const { code, stderr } = await start("--exsit");
    expect(stderr).toMatch(/^CFG_INVALID: Unknown option '--exsit'/);
    expect(stderr).not.toMatch(/^ {4}at /m);
    expect(code).toBe(78);
  });
});

describe("the system", { timeout: limitMs }, () => {
  it("starts a service again that was killed, at the same address, and leaves nothing running", async () => {
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
    } finally {
      await system.stop();
    }
    expect(Object.values(system.pids()).flat()).toEqual([]);
  });
});
