import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { takeOver } from "../src/processes/leftovers.ts";

let dir: string;
let file: string;
const children: ChildProcess[] = [];

beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "rs-agent-test-leftovers-"));
  file = join(dir, "processes");
});

afterEach(async () => {
  for (const child of children.splice(0)) {
    if (child.exitCode !== null || child.signalCode !== null) continue;
    child.kill("SIGKILL");
    await once(child, "exit");
  }
  rmSync(dir, { recursive: true, force: true });
});

function sleeper(): ChildProcess & { pid: number } {
  const child = spawn("sleep", ["60"], { detached: true, stdio: "ignore" });
  children.push(child);
  if (child.pid === undefined) throw new Error("sleep did not start");
  return Object.assign(child, { pid: child.pid });
}

/** As if another owner, dead by now, had written the file. */
function ofDeadOwner(): void {
  const [, ...rest] = readFileSync(file, "utf8").split("\n");
  writeFileSync(file, ["1 1", ...rest].join("\n"));
}

it("ends the processes that a killed owner left behind", async () => {
  const child = sleeper();
  takeOver(file).note(child.pid);
  ofDeadOwner();
  const ended = once(child, "exit");
  takeOver(file);
  expect((await ended)[1]).toBe("SIGKILL");
});

it("never ends a process whose start time differs from the one noted", () => {
  const child = sleeper();
  takeOver(file);
  writeFileSync(file, `1 1\n${child.pid} 1\n`);
  takeOver(file);
  expect(child.kill(0)).toBe(true);
  expect(child.signalCode).toBeNull();
});

it("refuses a folder whose owner lives", () => {
  const owner = sleeper();
  const owned = takeOver(file);
  owned.note(owner.pid);
  const [, line] = readFileSync(file, "utf8").split("\n");
  writeFileSync(file, `${line}\n`);
  expect(() => takeOver(file)).toThrow(`another start (process ${owner.pid}) runs in this folder`);
});

it("ends all that it noted, but not itself", async () => {
  const child = sleeper();
  const processes = takeOver(file);
  processes.note(child.pid);
  const ended = once(child, "exit");
  processes.endAll();
  expect((await ended)[1]).toBe("SIGKILL");
});

it("ends what it noted even if somebody has removed its file", async () => {
  const child = sleeper();
  const processes = takeOver(file);
  rmSync(file);
  processes.note(child.pid);
  rmSync(dir, { recursive: true });
  const ended = once(child, "exit");
  processes.endAll();
  expect((await ended)[1]).toBe("SIGKILL");
});
