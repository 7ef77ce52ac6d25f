import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import { describe, expect, it, onTestFinished, vi } from "vitest";
import { openBench, plainMail, tenant, type Bench } from "./in-process.ts";

const script = fileURLToPath(new URL("dying-worker.ts", import.meta.url));

/** Worker processes, one after the other: each is started when the previous one has died. */
function workerProcesses(kind: TaskKind, endpoint: string, behaviours: (life: number) => string) {
  const begun: string[][] = [];
  let child: ChildProcess | undefined;
  let isOver = false;
  const start = () => {
    const mine: string[] = [];
    begun.push(mine);
    const args = [script, kind, endpoint, behaviours(begun.length)];
    const started = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "inherit"] });
    child = started;
    createInterface(started.stdout).on("line", (mailId) => mine.push(mailId));
    started.on("exit", () => {
      if (!isOver) start();
    });
  };
  start();
  onTestFinished(async () => {
    isOver = true;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill("SIGKILL");
    await once(child, "exit");
  });
  return { begun, kill: () => child?.kill("SIGKILL") };
}

async function allReady(bench: Bench, ids: readonly string[]): Promise<void> {
  await vi.waitFor(async () => {
    for (const id of ids) expect((await bench.get(id)).state).toBe("ready");
  });
}

describe("a worker that dies", () => {
  it("twice over thirty clean mails: all of them are ready, and no strike stays", async () => {
    const bench = await openBench();
    await bench.policy(`\ndefault:\n  spam: off\n${tenant}`);
    const { endpoint } = await bench.dispatcher();
    bench.worker("enrich");
    const ids = await Promise.all(Array.from({ length: 30 }, () => bench.mail()));
    const { begun, kill } = workerProcesses("virus", endpoint, (life) => (life < 3 ? "holds" : ""));
    for (const life of [0, 1]) {
      await vi.waitFor(() => expect(begun[life]).toHaveLength(8));
      kill();
    }
    await allReady(bench, ids);
    const mails = await Promise.all(ids.map((id) => bench.get(id)));
    const struck = mails.filter(({ history }) => history.some(({ event }) => event === "strike"));
    expect(struck.length).toBeGreaterThanOrEqual(8);
    const twice = (begun[0] ?? []).filter((id) => begun[1]?.includes(id));
    for (const id of twice) expect((await bench.get(id)).strikes).toBeUndefined();
    expect(begun).toHaveLength(3);
  });

  it.each(["virus", "spam", "enrich"] as const)(
    "of one mail in %s costs three workers; that mail is dead and nothing else is",
    async (kind) => {
      const bench = await openBench();
      await bench.policy(tenant);
      const { endpoint } = await bench.dispatcher();
      for (const other of ["virus", "spam", "enrich"] as const) {
        if (other !== kind) bench.worker(other);
      }
      const poison = await bench.mail({ raw: plainMail("kills the worker") });
      const innocents = await Promise.all(Array.from({ length: 10 }, () => bench.mail()));
      const { begun } = workerProcesses(kind, endpoint, () => "");
      await vi.waitFor(async () => expect((await bench.get(poison)).state).toBe("dead"));
      await allReady(bench, innocents);
      const dead = await bench.get(poison);
      expect(dead.reason).toBe(
        `3 workers or engines died or hung on it, the last one alone with it in ${kind}`,
      );
      expect(begun.filter((mailIds) => mailIds.includes(poison))).toHaveLength(3);
      expect(begun).toHaveLength(4);
    },
  );

  it("of one mail as soon as it comes in: after nine of them that mail is dead, and nothing else", async () => {
    const bench = await openBench();
    await bench.policy(`\ndefault:\n  spam: off\n${tenant}`);
    const { endpoint } = await bench.dispatcher();
    bench.worker("enrich");
    const poison = await bench.mail({ raw: plainMail("kills the worker") });
    const innocents = await Promise.all(Array.from({ length: 10 }, () => bench.mail()));
    const { begun } = workerProcesses("virus", endpoint, () => "unbegun");
    await vi.waitFor(async () => expect((await bench.get(poison)).state).toBe("dead"));
    await allReady(bench, innocents);
    const { reason, history } = await bench.get(poison);
    expect(reason).toMatch(/^3 workers or engines died or hung on it, the last one alone/);
    const strikes = history.filter(({ event }) => event === "strike");
    expect(strikes.map(({ detail }) => detail)).toEqual(
      Array(3).fill(expect.stringContaining("3 workers in a row before they began it")),
    );
    expect(begun.flat()).not.toContain(poison);
    expect(begun).toHaveLength(10);
  });
});
