import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";

const program = join(import.meta.dirname, "..", "bin", "rs-agent.mjs");

let folder: string;
beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), "cli-files-"));
});
afterEach(() => rm(folder, { recursive: true }));

async function run(...args: string[]): Promise<{ code: number; stderr: string }> {
  return new Promise((resolve) => {
    const env = { ...process.env, RS_AGENT_RUN_DIR: folder };
    execFile(process.execPath, [program, ...args], { env }, (error, _, stderr) => {
      resolve({ code: Number(error?.code ?? 0), stderr });
    });
  });
}

test.each([
  [["submit", "no-such.eml", "--from", "a@x.example", "--to", "b@y.example"], "no-such.eml"],
  [["policy", "apply", "--dry-run", "no-such.yaml"], "no-such.yaml"],
  [["doctor", "--clamd-conf", "no-such.conf"], "no-such.conf"],
])("%j says that there is no such file; no setting is wrong", async (args, name) => {
  expect(await run(...args)).toEqual({ code: 1, stderr: `CLI_FILE: ${name}: no such file\n` });
});

test("a folder is reported as one", async () => {
  const { stderr } = await run("policy", "apply", "--dry-run", folder);
  expect(stderr).toBe(`CLI_FILE: ${folder}: is a folder\n`);
});
