import { setTimeout as delay } from "node:timers/promises";
import { systemClock } from "../../src/clock.ts";
import { loadConfig } from "../../src/config.ts";
import { createSilentLogger } from "../../src/logger.ts";
import { workerConfigSchema } from "../../src/worker/config.ts";
import type { TaskHandler } from "../../src/worker/handler.ts";
import { startWorker } from "../../src/worker/worker.ts";

/**
 * A worker process for tests that kill or stop one. `hold` never answers, unless told to stop;
 * `hang` blocks its event loop for 4 s with each task, then answers; `busy` does the same but
 * announces it.
 */
const [dispatcher = "", behaviour = "hold"] = process.argv.slice(2);

const handler: TaskHandler = {
  kind: "virus",
  concurrency: () => 2,
  async handle(_task, _mail, { announceBusy, signal }) {
    if (behaviour === "hold") await delay(600_000, undefined, { signal });
    if (behaviour === "busy") await announceBusy?.(5_000);
    blockFor(4_000);
    return { output: { kind: "clean" } };
  },
  canary: () => Promise.resolve({ able: true }),
  close: () => Promise.resolve(),
};

function blockFor(ms: number): void {
  const cell = new Int32Array(new SharedArrayBuffer(4));
  Atomics.wait(cell, 0, 0, ms);
}

await startWorker({
  config: loadConfig(workerConfigSchema, { ACTOR_ID: "child", BUS_DISPATCHERS: dispatcher }),
  handler,
  clock: systemClock,
  log: createSilentLogger(),
}).done;
