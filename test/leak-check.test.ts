import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { join } from "node:path";
import { expect, it } from "vitest";

it("a test file that leaves something open fails, and says what", async () => {
  const vitest = join(import.meta.dirname, "../node_modules/vitest/vitest.mjs");
  const args = [vitest, "run", "--root", join(import.meta.dirname, "leaky"), "--no-color"];
  const env = { ...process.env, VITEST_POOL_ID: undefined, NO_COLOR: "1" };
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"], env });
  const ended = once(child, "close");
  const [stdout, stderr] = await Promise.all([text(child.stdout), text(child.stderr)]);
  expect(await ended).toEqual([1, null]);
  const said = stdout + stderr;
  expect(said).toContain("left open by this file:");
  expect(said).toMatch(/child process \d+: sleep 30/);
  expect(said).toMatch(/a server that listens on port \d+/);
  expect(said.match(/a socket to 127\.0\.0\.1:\d+/g)).toHaveLength(2);
  expect(said.match(/a timer, begun at .*leaky\.ts:12/g)).toHaveLength(1);
});
