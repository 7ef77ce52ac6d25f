import { spawn } from "node:child_process";
import { once } from "node:events";
import { afterEach, describe, expect, it } from "vitest";
import { keepRunning, type KeptRunning, type Server } from "../src/processes/keep-running.ts";

const stops: (() => Promise<void>)[] = [];
afterEach(async () => {
  await Promise.all(stops.splice(0).map(async (stop) => stop()));
});

/** A process that does nothing until it is told to end. */
function startIdle(): Server {
  const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1000)"], { stdio: "ignore" });
  const ended = once(child, "exit");
  const stop = async () => {
    child.kill("SIGKILL");
    await ended;
  };
  return { pid: child.pid ?? 0, ended, stop };
}

/** Keeps an idle process running; `fails` says which starts (from 0) fail. */
async function keep(given: { fails?: number[]; restart?: boolean; signal?: AbortSignal } = {}) {
  const { fails = [], restart = true, signal = new AbortController().signal } = given;
  const told: string[] = [];
  const pids: number[] = [];
  const places: (number | undefined)[] = [];
  let starts = 0;
  const kept: KeptRunning<Server> = await keepRunning({
    name: "idle",
    start: async (before) => {
      places.push(before?.pid);
      if (fails.includes(starts++)) throw new Error("no room");
      return Promise.resolve(startIdle());
    },
    onStart: ({ pid }) => pids.push(pid),
    onTrouble: (text) => told.push(text),
    restart,
    signal,
    firstBackoffMs: 1,
  });
  stops.push(() => kept.stop());
  return { kept, told, pids, places };
}

describe("keepRunning", () => {
  it("restarts a killed server in the place of the one that ended", async () => {
    const { kept, told, pids, places } = await keep();
    process.kill(kept.first.pid, "SIGKILL");
    await expect.poll(() => told).toHaveLength(2);
    expect(told[0]).toMatch(/^idle ended unexpectedly and is restarted/);
    expect(told[1]).toBe("idle runs again");
    expect(pids).toHaveLength(2);
    expect(places).toEqual([undefined, kept.first.pid]);
    const [, second = 0] = pids;
    await kept.stop();
    expect(() => process.kill(second, 0)).toThrow();
    expect(told).toHaveLength(2);
  });

  it("says why it does not start, and keeps trying", async () => {
    const { kept, told } = await keep({ fails: [1, 2] });
    process.kill(kept.first.pid, "SIGKILL");
    await expect.poll(() => told.at(-1)).toBe("idle runs again");
    expect(told.slice(1, 3)).toEqual([
      "idle does not start: no room",
      "idle does not start: no room",
    ]);
  });

  it("does not restart a server if told so, or once the system stops", async () => {
    const left = await keep({ restart: false });
    await left.kept.first.stop();
    const stopping = new AbortController();
    const over = await keep({ signal: stopping.signal });
    stopping.abort();
    await over.kept.first.stop();
    await over.kept.stop();
    expect([...left.told, ...over.told]).toEqual([]);
  });

  it("throws what the first start threw", async () => {
    await expect(keep({ fails: [0] })).rejects.toThrow("no room");
  });
});
