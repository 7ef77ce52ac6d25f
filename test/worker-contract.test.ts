import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, inject, it } from "vitest";
import { runCli } from "../cli/test/run-cli.ts";
import { freePort } from "@rs-agent/kit/free-port.ts";
import { pythonWithZmq } from "./support/python-with-zmq.ts";

const file = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const node = file("../node_modules/.bin/node");
const allSteps = 13;

/**
 * Runs the suite against a program that is started with two dispatchers; ends what does not end by
 * itself.
 */
async function suiteOn(command: string, args: string[], env: NodeJS.ProcessEnv, options: string[]) {
  const ports = [await freePort(), await freePort()];
  const addresses = ports.map((port) => `tcp://127.0.0.1:${port}`);
  const child = spawn(command, args, {
    env: { ...process.env, BUS_DISPATCHERS: addresses.join(","), ...env },
    stdio: ["ignore", "ignore", "inherit"],
  });
  const exit = once(child, "exit");
  const pid = ["--pid", String(child.pid)];
  const ran = await runCli(["worker", "test", ...addresses, ...pid, ...options], {});
  if (ran.code !== 0) child.kill("SIGKILL");
  return { ...ran, exit: await exit };
}

async function expectKept(
  command: string,
  script: string,
  { env = {}, options = [] }: { env?: NodeJS.ProcessEnv; options?: string[] } = {},
): Promise<void> {
  const { out, code, exit } = await suiteOn(command, [file(script)], env, options);
  expect(out.match(/^ok /gm) ?? [], out).toHaveLength(allSteps);
  expect(out).not.toMatch(/WRONG|skipped/);
  expect(Math.max(...out.split("\n").map((line) => line.length))).toBeLessThanOrEqual(80);
  expect(code).toBe(0);
  expect(exit).toEqual([0, null]);
}

describe("the contract of a worker", () => {
  let python = "";
  beforeAll(async () => void (python = await pythonWithZmq()));
  const words = ["--settings", JSON.stringify({ words: ["secret"] })];

  it("is kept by the example in Python", () =>
    expectKept(python, "../examples/python-worker/worker.py", { options: words }));

  it("is kept by the example in TypeScript", () =>
    expectKept(node, "../examples/typescript-worker/src/main.ts"));

  it.each([
    ["av-worker", "clamd", "AV_CLAMD", {}],
    ["spam-worker", "spamd", "SPAM_SPAMD", { SPAM_ENGINE: "spamd", SPAM_CHILDREN: "2" }],
    ["spam-worker", "rspamd", "SPAM_RSPAMD", { SPAM_ENGINE: "rspamd" }],
  ] as const)("is kept by the %s before %s", (service, engine, variable, env) =>
    expectKept(node, `../services/${service}/src/main.ts`, {
      env: { ...env, [variable]: inject(engine) },
    }),
  );

  it("is kept by the enricher", () => expectKept(node, "../services/enricher/src/main.ts"));
});

describe("the suite", () => {
  let python = "";
  beforeAll(async () => void (python = await pythonWithZmq()));

  it.each([
    ["answers twice", /answers no task twice: it was answered twice/],
    ["says nothing of beginning", /after `started`.*: no `started` came/s],
    ["echoes another id", /echo of its ids: its result\s+echoes another mailId/],
    ["cannot check a plain mail", /it is `unchecked: engine-error`: ValueError\('no engine'\)/],
    ["grants while another is alone", /only once the other knows: it said `sole`/],
    ["is not there", /says ready: tcp:.* nothing came/s],
  ])("says of a worker that %s that it does not keep the contract", async (fault, wrong) => {
    const script = file("support/faulty_worker.py");
    const program = fault === "is not there" ? ["-c", "pass"] : [script, fault];
    const words = ["--settings", JSON.stringify({ words: ["secret"] })];
    const options = [...words, "--patience", "4", "--huge-mb", "2"];
    const { out, code } = await suiteOn(python, program, {}, options);
    expect(out.replace(/\n\s+/g, " ")).toMatch(wrong);
    expect(code).toBe(1);
  });
});
