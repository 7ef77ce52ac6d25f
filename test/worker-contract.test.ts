import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { runCli } from "../cli/test/run-cli.ts";
import { freePort } from "@rs-agent/kit/free-port.ts";
import { pythonWithZmq } from "./support/python-with-zmq.ts";

const file = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const node = file("../node_modules/.bin/node");
const allSteps = 13;

let child: ChildProcess | undefined;
afterEach(() => child?.kill("SIGKILL"));

/** Runs the suite against a program that is started with two dispatchers. */
async function contractOf(command: string, args: string[], settings: object, env = {}) {
  const ports = [await freePort(), await freePort()];
  const addresses = ports.map((port) => `tcp://127.0.0.1:${port}`);
  child = spawn(command, args, {
    env: { ...process.env, BUS_DISPATCHERS: addresses.join(","), ...env },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const exit = once(child, "exit");
  const options = ["--settings", JSON.stringify(settings), "--pid", String(child.pid)];
  const ran = await runCli(["worker", "test", ...addresses, ...options], {});
  return { ...ran, exit };
}

function expectAllHold({ out, code }: { out: string; code: number }): void {
  expect(out.match(/^ok /gm) ?? [], out).toHaveLength(allSteps);
  expect(out).not.toMatch(/WRONG|skipped/);
  expect(Math.max(...out.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
  expect(code).toBe(0);
}

describe("the contract of a worker", () => {
  let python = "";
  beforeAll(async () => void (python = await pythonWithZmq()));

  it("is kept by the example in Python", async () => {
    const script = file("../examples/python-worker/worker.py");
    const ran = await contractOf(python, [script], { words: ["secret"] });
    expectAllHold(ran);
    expect(await ran.exit).toEqual([0, null]);
  });

  it("is kept by the example in TypeScript", async () => {
    const ran = await contractOf(node, [file("../examples/typescript-worker/src/main.ts")], {});
    expectAllHold(ran);
    expect(await ran.exit).toEqual([0, null]);
  });

  it.each([
    ["virus", {}],
    ["spam", { maxBytes: 512_000, oversize: "unchecked" }],
  ])("is kept by our own frame of workers for %s", async (kind, settings) => {
    const main = file("../bench/src/null-engine-service.ts");
    expectAllHold(await contractOf(node, [main], settings, { NULL_TASK: kind }));
  });

  it.each([
    ["answers twice", /answers no task twice: it was answered twice/],
    ["says nothing of beginning", /after `started`.*: no `started` came/s],
    ["echoes another id", /echo of its ids: its result\s+echoes another mailId/],
    ["grants while another is alone", /only once the other knows: it said `sole`/],
    ["is not there", /says ready: tcp:.* nothing came/s],
  ])("is not kept by a worker that %s, and the suite says so", async (fault, wrong) => {
    const script = file("support/faulty_worker.py");
    const program = fault === "is not there" ? ["-c", "pass"] : [script, fault];
    const settings = { words: ["secret"] };
    const ports = [await freePort(), await freePort()];
    const addresses = ports.map((port) => `tcp://127.0.0.1:${port}`);
    child = spawn(python, program, {
      env: { ...process.env, BUS_DISPATCHERS: addresses.join(",") },
      stdio: ["ignore", "ignore", "inherit"],
    });
    const options = ["--settings", JSON.stringify(settings), "--patience", "4", "--huge-mb", "2"];
    const { out, code } = await runCli(["worker", "test", ...addresses, ...options], {});
    expect(out.replace(/\n\s+/g, " ")).toMatch(wrong);
    expect(code).toBe(1);
  });
});
