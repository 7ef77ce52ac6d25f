import { z } from "zod";
import { integer, loadConfig, logLevel } from "@rs-agent/shared/config.ts";
import { runService } from "@rs-agent/shared/lifecycle.ts";
import { createLogger } from "@rs-agent/shared/logger.ts";
import { startMaildirServer } from "@rs-agent/kit/smtp/maildir-server.ts";

/** The next hop of the profile `try`: takes every mail and leaves it in a maildir. */
const schema = z.object({
  SINK_DIR: z.string().default("/var/lib/sink"),
  SINK_PORT: integer(0, 65_535).default(25),
  LOG_LEVEL: logLevel(),
});

await runService(async () => {
  const config = loadConfig(schema, process.env);
  const log = createLogger("sink", config.LOG_LEVEL);
  const { SINK_DIR: dir, SINK_PORT: port } = config;
  const server = await startMaildirServer({ dir, host: "0.0.0.0", port });
  log.info({ address: `0.0.0.0:${server.port}`, dir }, "ready");
  const { promise: done, resolve } = Promise.withResolvers<void>();
  const close = async () => {
    await server.stop();
    resolve();
  };
  const ends = { drain: close, close, [Symbol.asyncDispose]: close };
  return { handle: { ready: Promise.resolve(), done, ...ends }, log, drainMs: 5_000 };
});
