import { dirname, join } from "node:path";
import { z } from "zod";
import { loadConfig, logLevel } from "@rs-agent/shared/config.ts";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import { exit, exitWithError } from "@rs-agent/shared/lifecycle.ts";
import { createLogger } from "@rs-agent/shared/logger.ts";
import { startBeside } from "./beside.ts";
import { programs } from "./programs.ts";

/** `beside-main.ts WORKER ENGINE [arguments]`: what the images with an engine run. */
const schema = z.object({ LOG_LEVEL: logLevel(), ENGINE_RENEW_FILE: z.string().optional() });
const root = dirname(dirname(import.meta.dirname));

await main().catch(exitWithError);

async function main(): Promise<void> {
  const config = loadConfig(schema, process.env);
  const [worker = "", engine, ...args] = process.argv.slice(2);
  const program = programs[worker as keyof typeof programs] as { file: string } | undefined;
  if (program === undefined || engine === undefined) {
    throw new TerminalError("CFG_INVALID", "usage: beside-main.ts WORKER ENGINE [arguments]");
  }
  const pair = startBeside({
    worker: { file: process.execPath, args: [...process.execArgv, join(root, program.file)] },
    engine: { file: engine, args },
    log: createLogger(engine, config.LOG_LEVEL),
    ...(config.ENGINE_RENEW_FILE !== undefined && { renewFile: config.ENGINE_RENEW_FILE }),
    lookEveryMs: 30_000,
    renewSpreadMs: 300_000,
    engineStopMs: 20_000,
    backoffMs: { first: 500, most: 30_000 },
  });
  process.on("SIGTERM", () => pair.signal("SIGTERM"));
  process.on("SIGINT", () => pair.signal("SIGINT"));
  exit(await pair.ended);
}
