import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, it, onTestFinished, vi } from "vitest";
import { treeCpuMs } from "../src/processes/cpu-time.ts";

/** `sh` with these commands, one after the other; it stays alive after the last one. */
function shell(commands: string): number {
  const child = spawn("sh", ["-c", `${commands}; sleep 600`], { detached: true, stdio: "ignore" });
  const { pid } = child;
  if (pid === undefined) throw new Error("there is no sh");
  onTestFinished(async () => {
    process.kill(-pid, "SIGKILL");
    await once(child, "exit");
  });
  return pid;
}

it("counts what a process has started, even if it has ended", async () => {
  const burn = `"${process.execPath}" -e "while (process.cpuUsage().user < 400_000);"`;
  const [busy, idle] = [shell(burn), shell("true")];
  await vi.waitFor(() => expect(treeCpuMs(busy)).toBeGreaterThan(200));
  expect(treeCpuMs(idle)).toBeLessThan(200);
  const ended = shell(`${burn}; exec sleep 599`);
  await vi.waitFor(() => expect(treeCpuMs(ended)).toBeGreaterThan(200));
});

it("is 0 for a process that is gone", async () => {
  const child = spawn("true");
  await once(child, "exit");
  expect(treeCpuMs(child.pid ?? 0)).toBe(0);
});
