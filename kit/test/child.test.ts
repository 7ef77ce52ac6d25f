import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it, onTestFinished, vi } from "vitest";
import { startChild, untilReady, type Child } from "../src/processes/child.ts";

function shell(script: string, options: Parameters<typeof startChild>[2] = {}): Child {
  const child = startChild("sh", ["-c", script], options);
  onTestFinished(() => child.stop());
  return child;
}

const said = (child: Child, text: string) =>
  vi.waitFor(() => {
    expect(child.said()).toContain(text);
  });

it("says how it ended, and what it wrote before", async () => {
  const child = shell("echo one; echo two >&2; exit 3");
  expect(await child.ended).toBe("exit code 3");
  expect(child.said().split("\n").sort()).toEqual(["one", "two"]);
  expect(await startChild("/no/such/program", []).ended).toContain("ENOENT");
});

it("appends what it says to its log", async () => {
  const dir = mkdtempSync(join(tmpdir(), "rs-agent-test-child-"));
  onTestFinished(() => rmSync(dir, { recursive: true }));
  const logFile = join(dir, "log");
  for (const word of ["one", "two"]) await shell(`echo ${word}`, { logFile }).ended;
  await vi.waitFor(() => expect(readFileSync(logFile, "utf8")).toBe("one\ntwo\n"));
});

it("ends with its whole group, even if it ignores SIGTERM", async () => {
  const child = shell("trap '' TERM; sleep 600 & echo $! here; wait; sleep 600", {
    stopWithinMs: 50,
  });
  await said(child, "here");
  const grandchild = Number.parseInt(child.said(), 10);
  await child.stop();
  expect(await child.ended).toBe("SIGKILL");
  await vi.waitFor(() => expect(() => process.kill(grandchild, 0)).toThrow("ESRCH"));
});

it("is stopped if it ends or is not ready in time, and says so", async () => {
  const never = () => new Promise<never>(() => undefined);
  const ended = untilReady(shell("exit 1"), never, { withinMs: 60_000 });
  await expect(ended).rejects.toThrow("it ended (exit code 1)");
  const slow = shell("sleep 600");
  await expect(untilReady(slow, never, { withinMs: 50 })).rejects.toThrow("not ready after 0 s");
  expect(await slow.ended).toBe("SIGTERM");
});

it("is ready with what `ready` gives, whose signal aborts with the caller's", async () => {
  const child = shell("sleep 600");
  expect(await untilReady(child, () => Promise.resolve(7), { withinMs: 1_000 })).toBe(7);
  const stopping = new AbortController();
  const asked = untilReady(
    child,
    (signal) =>
      new Promise<never>((_, reject) => {
        signal.onabort = () => reject(signal.reason as Error);
      }),
    { withinMs: 60_000, signal: stopping.signal },
  );
  stopping.abort(new Error("enough"));
  await expect(asked).rejects.toThrow("enough");
});
