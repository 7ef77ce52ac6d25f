import { systemClock } from "@rs-agent/shared/clock.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import { workerConfigSchema } from "@rs-agent/shared/worker/config.ts";
import { startWorker } from "@rs-agent/shared/worker/worker.ts";
import { Pull } from "zeromq";
import { answerOf } from "./answers.ts";

/**
 * A worker process for tests of poison. It dies of mail that contains the marker, with `unbegun` as
 * soon as that mail comes in; with `holds` it begins tasks and never ends them. It writes a line
 * for each task that it begins.
 */
const [kind = "virus", dispatchers = "", behaviour = ""] = process.argv.slice(2);
const marker = "kills the worker";

if (behaviour === "unbegun") {
  Pull.prototype[Symbol.asyncIterator] = async function* () {
    while (!this.closed) {
      const frames = await this.receive();
      if (frames.some((frame) => frame.includes(marker))) process.kill(process.pid, "SIGKILL");
      yield frames;
    }
    return undefined;
  };
}

await startWorker({
  config: workerConfigSchema.parse({
    BUS_DISPATCHERS: dispatchers,
    CANARY_INTERVAL_MS: "200",
    ACTOR_ID: `${kind}-child`,
  }),
  handler: {
    kind: kind as TaskKind,
    concurrency: () => 8,
    canary: () => Promise.resolve({ able: true }),
    close: () => Promise.resolve(),
    async handle(task, mail) {
      process.stdout.write(`${task.mailId}\n`);
      if (behaviour === "holds") await new Promise(() => undefined);
      if (mail.kind === "bytes" && mail.bytes.includes(marker)) {
        // `started` is on its way: ZeroMQ's own thread must send it before the process is gone.
        await new Promise((resolve) => setTimeout(resolve, 50));
        process.kill(process.pid, "SIGKILL");
      }
      return answerOf(kind as TaskKind, mail);
    },
  },
  clock: systemClock,
  log: createSilentLogger(),
}).done;
