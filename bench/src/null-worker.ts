import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
import { createLogger } from "@rs-agent/shared/logger.ts";
import { workerConfigSchema } from "@rs-agent/shared/worker/config.ts";
import type { TaskHandler, TaskOutput } from "@rs-agent/shared/worker/handler.ts";
import { startWorker } from "@rs-agent/shared/worker/worker.ts";

/**
 * A virus worker without an engine: every mail is clean immediately. Arguments: the dispatcher's
 * result socket, and how many tasks at once; the environment has the keys of the bus. Ends when
 * standard input does.
 */
const [dispatcher = "", concurrency = "64"] = process.argv.slice(2);
const { BUS_KEY_FILE, BUS_ALLOW_FILE } = process.env;
const keys = BUS_KEY_FILE === undefined ? {} : { BUS_KEY_FILE, BUS_ALLOW_FILE };
const clean: TaskOutput = { output: { kind: "clean" } };

const handler: TaskHandler = {
  kind: "virus",
  concurrency: () => Number(concurrency),
  handle: () => Promise.resolve(clean),
  canary: () => Promise.resolve({ able: true }),
  close: () => Promise.resolve(),
};

const worker = startWorker({
  config: loadConfig(workerConfigSchema, { ...keys, BUS_DISPATCHERS: dispatcher }),
  handler,
  clock: systemClock,
  log: createLogger("null-worker", "warn"),
});
process.stdin.on("end", () => void worker.close());
process.stdin.resume();
await worker.done;
