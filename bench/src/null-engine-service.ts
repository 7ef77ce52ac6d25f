import { z } from "zod";
import { setTimeout } from "node:timers/promises";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { integer, loadConfig } from "@rs-agent/shared/config.ts";
import { runService } from "@rs-agent/shared/lifecycle.ts";
import { createLogger } from "@rs-agent/shared/logger.ts";
import { workerConfigSchema } from "@rs-agent/shared/worker/config.ts";
import type { TaskOutput } from "@rs-agent/shared/worker/handler.ts";
import { startWorker } from "@rs-agent/shared/worker/worker.ts";

const engine = { name: "null", version: "0" };
const outputs: Record<"virus" | "spam", TaskOutput> = {
  virus: { output: { kind: "clean" } },
  spam: { output: { kind: "ham", score: 0, required: 5, rules: [] } },
};

const schema = workerConfigSchema.extend({
  /** The check that it stands in for. */
  NULL_TASK: z.enum(["virus", "spam"]),
  NULL_CONCURRENCY: integer(1, 10_000).default(64),
  /** How long it pretends to think about a mail. */
  NULL_WORK_MS: integer(0, 600_000).default(0),
});

/**
 * A worker service without an engine: it answers immediately, so that everything else is measured.
 */
await runService(async () => {
  const config = loadConfig(schema, process.env);
  const log = createLogger(`null-${config.NULL_TASK}`, config.LOG_LEVEL);
  const handle = startWorker({
    config,
    clock: systemClock,
    log,
    handler: {
      kind: config.NULL_TASK,
      concurrency: () => config.NULL_CONCURRENCY,
      canary: () => Promise.resolve({ able: true, engine }),
      handle: async () => {
        if (config.NULL_WORK_MS > 0) await setTimeout(config.NULL_WORK_MS);
        return outputs[config.NULL_TASK];
      },
      close: () => Promise.resolve(),
    },
  });
  await handle.ready;
  log.info({ bus: handle.mailbox }, "ready");
  return { handle, log, drainMs: config.DRAIN_MS };
});
