import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import {
  ServiceProcess,
  type ProcessEnd,
  type ServiceProcessOptions,
} from "../src/processes/service-process.ts";

let dir: string;
let service: ServiceProcess | undefined;
let trouble: string[];

beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "rs-agent-test-service-"));
  trouble = [];
});

afterEach(async () => {
  await service?.stop(1_000);
  service = undefined;
  await rm(dir, { recursive: true });
});

const sayReady = `console.error(JSON.stringify({ level: 30, msg: "ready", smtp: "127.0.0.1:25" }));`;
const live = `setInterval(() => {}, 1000);`;

async function start(script: string, more: Partial<ServiceProcessOptions> = {}) {
  const file = join(dir, "service.mjs");
  await writeFile(file, script);
  service = new ServiceProcess({
    name: "test service",
    node: process.execPath,
    script: file,
    cwd: dir,
    env: { ...process.env },
    logFile: join(dir, "service.log"),
    restart: true,
    onTrouble: (text) => trouble.push(text),
    onSpawn: () => undefined,
    ...more,
  });
  service.start();
  return service;
}

it("is ready when the process has said so in its log", async () => {
  const running = await start(sayReady + live);
  expect(await running.untilReady()).toMatchObject({ msg: "ready", smtp: "127.0.0.1:25" });
  expect(running.state).toBe("ready");
});

it("does not give up a service that was ready once, however often it fails to start afterwards", async () => {
  const runs = join(dir, "runs");
  const running = await start(`
    import { appendFileSync, readFileSync } from "node:fs";
    appendFileSync(${JSON.stringify(runs)}, ".");
    const run = readFileSync(${JSON.stringify(runs)}).length;
    if (run > 1 && run < 6) process.exit(1);
    ${sayReady}
    ${live}`);
  await running.untilReady();
  running.kill("SIGKILL");
  await vi.waitFor(() => expect(running.restarts).toBe(5));
  await running.untilReady();
  expect(running.state).toBe("ready");
});

it("tells how each end came", async () => {
  const ends: ProcessEnd[] = [];
  const running = await start(sayReady + live, { onEnd: (end) => ends.push(end) });
  await running.untilReady();
  const pid = running.kill("SIGKILL");
  await running.untilReady();
  const how = { name: "test service", pid, exitCode: undefined, signal: "SIGKILL", wasReady: true };
  expect(ends).toEqual([how]);
});

it("restarts a killed process under another pid, with the same log", async () => {
  const running = await start(sayReady + live);
  await running.untilReady();
  const first = running.kill("SIGKILL");
  await running.untilReady();
  expect(running.pid).not.toBe(first);
  expect(running.restarts).toBe(1);
  expect(trouble).toEqual([expect.stringContaining("test service ended (SIGKILL)")]);
  const log = await readFile(join(dir, "service.log"), "utf8");
  expect(log.match(/"ready"/g)).toHaveLength(2);
});

it("leaves a killed process dead if told so", async () => {
  const running = await start(sayReady + live, { restart: false });
  await running.untilReady();
  running.kill("SIGKILL");
  await expect(running.untilReady()).rejects.toMatchObject({ code: "SETUP_FAILED" });
  expect(running.state).toBe("ended");
});

it("does not restart a process whose settings are wrong, and says what it said", async () => {
  const running = await start(
    `console.error("CFG_INVALID: MONGODB_URI is missing"); process.exit(78);`,
  );
  await expect(running.untilReady()).rejects.toThrow("CFG_INVALID: MONGODB_URI is missing");
  expect(running.restarts).toBe(0);
});

it("drains by SIGTERM and waits for the end", async () => {
  const onTerm = `process.on("SIGTERM", () => { console.error("drained"); process.exit(0); });`;
  const running = await start(onTerm + sayReady + live);
  await running.untilReady();
  await running.stop(5_000);
  expect(running.pid).toBeUndefined();
  expect(await readFile(join(dir, "service.log"), "utf8")).toContain("drained");
  expect(trouble).toEqual([]);
});

it("tells the last warning of a process that is not ready", async () => {
  const warn = { level: 40, msg: "engine is unable", reason: "no connection" };
  const running = await start(`console.error(${JSON.stringify(JSON.stringify(warn))});${live}`);
  await expect.poll(() => running.trouble).toBe("test service (engine is unable: no connection)");
});
