import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";
import { openKeyedWorker, linesLike, makeKeyFolder, openKeyedPool } from "./keyed-actors.ts";
import { untilFree } from "./pool-and-worker.ts";

const tries = 10_000;
/**
 * How far a heap, its collector and libzmq's pools may be off; 10,000 leaked sockets are far more.
 */
const toleranceBytes = 48 * 1024 * 1024;

test("10,000 refused tries cost a few log lines and no memory, and keep nobody else out", async () => {
  const folder = makeKeyFolder();
  const { pool, lines } = await openKeyedPool(folder);
  const knockMore = async (count: number) => {
    const script = fileURLToPath(new URL("knocking-child.ts", import.meta.url));
    const args = [script, pool.endpoint, folder.keys.dispatcher.publicKey, String(count)];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] });
    onTestFinished(() => void child.kill("SIGKILL"));
    const [code] = (await once(child, "exit")) as [number];
    expect(code).toBe(0);
  };
  await knockMore(1_000);
  const before = process.memoryUsage().rss;
  await knockMore(tries);
  expect(pool.refused()).toBe(1_000 + tries);
  expect(process.memoryUsage().rss - before).toBeLessThan(toleranceBytes);
  expect(linesLike(lines, /peer refused: its key is not listed/).length).toBeLessThanOrEqual(60);
  openKeyedWorker(folder, pool.endpoint);
  await untilFree(pool);
});
