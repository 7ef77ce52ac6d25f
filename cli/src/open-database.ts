import { systemClock } from "@rs-agent/shared/clock.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { openDatabase, type Database } from "@rs-agent/shared/store/database.ts";
import type { CliConfig } from "./config.ts";

/** @throws what openDatabase throws */
export function openSilently(config: CliConfig): Promise<Database> {
  const { MONGODB_URI: uri, MONGODB_DB: db } = config;
  return openDatabase({ uri, db, clock: systemClock, log: createSilentLogger() });
}
