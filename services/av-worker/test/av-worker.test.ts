import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { describe, expect, inject, it, onTestFinished, vi } from "vitest";
import { createBusProtection } from "@rs-agent/shared/bus/protection.ts";
import {
  startWorkerPool,
  type LostTask,
  type TaskResult,
  type WorkerPool,
} from "@rs-agent/shared/bus/worker-pool.ts";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { sha256Hex } from "@rs-agent/shared/ids.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { settingsHashOf } from "@rs-agent/shared/mail/task-settings.ts";
import { canaryMail, type CanaryKind } from "../src/canary-mails.ts";
import { startFakeClamd } from "./fake-clamd.ts";
import { matching } from "./matching.ts";
import { untilTestEnds } from "../../../test/support/until-test-ends.ts";

const main = fileURLToPath(new URL("../src/main.ts", import.meta.url));

/** A dispatcher's end of the bus, with what came back. */
async function openPool() {
  const results = new Map<string, TaskResult>();
  const lost: LostTask[] = [];
  const pool = untilTestEnds(
    await startWorkerPool({
      bind: "tcp://127.0.0.1:*",
      actorId: "dispatcher-test",
      protection: createBusProtection(undefined),
      clock: systemClock,
      log: createSilentLogger(),
      onResult: (result) => results.set(result.head.mailId, result),
      onLost: (task) => lost.push(task),
    }),
  );
  return { pool, results, lost };
}

function startProcess(env: Record<string, string>) {
  const child = spawn(process.execPath, [main], {
    env: { PATH: process.env["PATH"], ...env },
    stdio: ["ignore", "ignore", "pipe"],
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  const lines: Record<string, unknown>[] = [];
  const raw: string[] = [];
  createInterface({ input: child.stderr }).on("line", (line) => {
    raw.push(line);
    if (line.startsWith("{")) lines.push(JSON.parse(line) as Record<string, unknown>);
  });
  return { child, lines, raw };
}

function place(pool: WorkerPool, mailId: string, kind: CanaryKind): void {
  const mail = canaryMail(kind, mailId);
  const settings = {};
  const task = {
    mailId,
    attempt: 1,
    sha256: sha256Hex(mail),
    size: mail.length,
    settings,
    settingsHash: settingsHashOf(settings),
    deadlineMs: 20_000,
    smtp: { mailFrom: "", rcptTo: [], client: { address: "", name: "", helo: "" } },
  };
  expect(pool.place("virus", task, mail)).toBeDefined();
}

describe("the av-worker as a process", () => {
  it("reports ready, answers tasks from the bus with clamd's findings, and drains at SIGTERM", async () => {
    const { pool, results } = await openPool();
    const { child, lines } = startProcess({
      BUS_DISPATCHERS: pool.endpoint,
      AV_CLAMD: inject("clamd"),
    });
    await vi.waitFor(() => expect(pool.free("virus").tasks).toBeGreaterThan(0));
    expect(lines).toContainEqual(
      expect.objectContaining({ msg: "ready", bus: matching(/^tcp:/), clamd: [inject("clamd")] }),
    );
    for (const kind of ["clean", "eicar", "encrypted", "limit"] as const) place(pool, kind, kind);
    await vi.waitFor(() => expect(results.size).toBe(4));
    const findings = [...results].map(([kind, { head }]) => [kind, head.output] as const);
    expect(Object.fromEntries(findings)).toMatchObject({
      clean: { kind: "clean" },
      eicar: { kind: "infected", names: [matching(/Eicar/)] },
      encrypted: { kind: "unchecked", reason: "encrypted" },
      limit: { kind: "unchecked", reason: "limit" },
    });
    expect(results.get("clean")?.engine).toMatchObject({ name: "clamd" });
    child.kill("SIGTERM");
    await once(child, "exit");
    expect(child.exitCode).toBe(0);
  });

  it("grants nothing while its clamd is away, and says why", async () => {
    const { pool } = await openPool();
    startProcess({ BUS_DISPATCHERS: pool.endpoint, AV_CLAMD: "127.0.0.1:1" });
    const why = matching(/127\.0\.0\.1:1: .*ECONNREFUSED/);
    await vi.waitFor(() => expect(pool.workers()).toMatchObject([{ unable: why }]));
    expect(pool.free("virus").tasks).toBe(0);
  });

  it("grants zero by itself while its clamd stands still, says why, and loses no task over it", async () => {
    const { pool, results, lost } = await openPool();
    const clamd = untilTestEnds(await startFakeClamd());
    startProcess({ BUS_DISPATCHERS: pool.endpoint, AV_CLAMD: clamd.address });
    await vi.waitFor(() => expect(pool.free("virus").tasks).toBeGreaterThan(0));
    clamd.freeze();
    const kinds = ["clean", "eicar"] as const;
    for (const kind of kinds) place(pool, kind, kind);
    const why = matching(/did not answer PING within \d+ ms: it hangs, or loads its signatures/);
    // Long before the tasks' own deadline of 20 s.
    await vi.waitFor(() => expect(pool.workers()).toMatchObject([{ unable: why }]));
    expect(pool.free("virus").tasks).toBe(0);
    expect(results.size).toBe(0);
    clamd.thaw();
    await vi.waitFor(() => expect(results.size).toBe(2));
    const findings = kinds.map((kind) => results.get(kind)?.head.output);
    expect(findings).toMatchObject([{ kind: "clean" }, { kind: "infected" }]);
    await vi.waitFor(() => expect(pool.free("virus").tasks).toBeGreaterThan(0));
    expect(lost).toEqual([]);
  });

  it("ends with 78 and every wrong setting in one message", async () => {
    const { child, raw } = startProcess({ AV_CLAMD: "a b", AV_DEPTH: "none" });
    await once(child, "close");
    expect(child.exitCode).toBe(78);
    for (const name of ["CFG_INVALID", "BUS_DISPATCHERS", "AV_CLAMD", "AV_DEPTH"]) {
      expect(raw.join("\n")).toContain(name);
    }
  });
});
