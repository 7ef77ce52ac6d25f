import { randomUUID } from "node:crypto";
import { mkdtemp, readdir, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { loadConfig } from "@rs-agent/shared/config.ts";
import type { Metrics } from "@rs-agent/shared/health/metrics.ts";
import { createSilentLogger, type Logger } from "@rs-agent/shared/logger.ts";
import { openDatabase, type Database } from "@rs-agent/shared/store/database.ts";
import {
  startMaildirServer,
  type MaildirServer,
  type MaildirServerOptions,
} from "@rs-agent/kit/smtp/maildir-server.ts";
import { relayConfigSchema } from "../src/config.ts";
import { startRelay, type Relay } from "../src/relay.ts";
import { mongodbUri } from "../../../test/support/test-mongodb.ts";

/** A database of the test's own, closed with the test. */
export async function ownDatabase(name = `relay-${randomUUID()}`): Promise<Database> {
  const uri = mongodbUri();
  const log = createSilentLogger();
  const database = await openDatabase({ uri, db: name, clock: systemClock, log });
  onTestFinished(() => database.close());
  return database;
}

/** Settings with which a test need not wait. */
export function quickSettings(db: string, settings: Record<string, string> = {}) {
  return {
    MONGODB_URI: mongodbUri(),
    MONGODB_DB: db,
    RELAY_HOSTNAME: "relay.example",
    RELAY_POLL_MS: "50",
    RELAY_PROBE_MS: "640",
    RELAY_IDLE_MS: "300",
    ...settings,
  };
}

/** A relay in this process, with a database connection of its own; closed with the test. */
export async function runningRelay(
  db: string,
  settings: Record<string, string> = {},
  log: Logger = createSilentLogger(),
  metrics?: Metrics,
): Promise<Relay> {
  const config = loadConfig(relayConfigSchema, quickSettings(db, settings));
  const uri = config.MONGODB_URI;
  const database = await openDatabase({ uri, db, clock: systemClock, log });
  const relay = await startRelay({
    config,
    database,
    clock: systemClock,
    log,
    ...(metrics && { metrics }),
  });
  onTestFinished(() => relay.close());
  await relay.ready;
  return relay;
}

export interface Sink extends MaildirServer {
  /** The bytes of every mail in it. */
  mails(): Promise<Buffer[]>;
}

/** A next hop with a maildir of its own; both are removed with the test. */
export async function runningSink(
  options: Omit<MaildirServerOptions, "dir"> & { dir?: string } = {},
): Promise<Sink> {
  const dir = options.dir ?? (await mkdtemp(join(tmpdir(), "relay-test-sink-")));
  const server = await startMaildirServer({ ...options, dir });
  onTestFinished(async () => {
    await server.stop();
    await rm(dir, { recursive: true, force: true });
  });
  return Object.assign(server, {
    async mails() {
      const names = await readdir(join(dir, "new"));
      return Promise.all(names.map((name) => readFile(join(dir, "new", name))));
    },
  });
}
