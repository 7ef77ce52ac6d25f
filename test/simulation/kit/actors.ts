import { RsError } from "@rs-agent/shared/errors.ts";
import type { ServiceHandle } from "@rs-agent/shared/lifecycle.ts";
import { openDatabaseClock } from "@rs-agent/shared/store/database-clock.ts";
import { createStores, type Database } from "@rs-agent/shared/store/database.ts";
import { spamEngines } from "@rs-agent/shared/checks/spam.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import { workerConfigSchema } from "@rs-agent/shared/worker/config.ts";
import { startWorker } from "@rs-agent/shared/worker/worker.ts";
import { dispatcherConfigSchema } from "../../../services/dispatcher/src/config.ts";
import { startDispatcher } from "../../../services/dispatcher/src/dispatcher.ts";
import { relayConfigSchema } from "../../../services/relay/src/config.ts";
import { startRelay } from "../../../services/relay/src/relay.ts";
import { connectDriver } from "./database/driver.ts";
import { createEngine } from "./engines.ts";
import { healthyEngine } from "./faults.ts";
import { tenantDomain } from "./mails.ts";
import { sourcesOf } from "./records.ts";
import { virtualDns } from "./senders.ts";
import type { VirtualProcess } from "./virtual-time.ts";
import { createVirtualLogger } from "./virtual-logger.ts";
import { watchedDatabase } from "./watched-database.ts";
import type { World } from "./world.ts";

/** The product's services, each started as its own main.ts does it. */

const uri = "mongodb://simulated";
const databaseName = "rs_agent";
const drainMs = 5_000;

/** A program that a supervisor restarts whenever it ends. */
export type Program = (world: World, process: VirtualProcess) => Promise<ServiceHandle>;

/** The database as this process reaches it: the product's stores on a virtual driver. */
export async function openVirtualDatabase(
  world: World,
  process: VirtualProcess,
): Promise<Database> {
  const client = connectDriver(world.driver, process);
  const log = createVirtualLogger(world.trace, process);
  const opened = await openDatabaseClock(client.db("admin"), process.clock, log);
  const { clock } = opened;
  const close = () => {
    opened.close();
    return Promise.resolve();
  };
  return {
    ...createStores({ client, name: databaseName, clock, log, lingerMs: 2 }),
    clock,
    server: "a simulated replica set",
    commands: 0,
    disk: () => Promise.resolve(undefined),
    ping: () => Promise.resolve(),
    close,
    [Symbol.asyncDispose]: close,
  };
}

async function openWatched(world: World, process: VirtualProcess): Promise<Database> {
  return watchedDatabase(world, process, await openVirtualDatabase(world, process));
}

export function dispatcherProgram(index: number): Program {
  return async (world, process) => {
    const { settings } = world;
    const config = dispatcherConfigSchema.parse({
      MONGODB_URI: uri,
      ACTOR_ID: process.name,
      BUS_BIND: endpointOf(index),
      MAIL_HOSTNAME: tenantDomain,
      LEASE_MS: settings.leaseMs,
      POLL_MS: settings.pollMs,
      CHANGE_STREAM: settings.changeStream ? "on" : "off",
      CLAIM_BATCH: settings.batch,
      MAX_HELD_MAILS: settings.batch * 2,
      TASK_DEADLINE_MS: settings.deadlineMs,
      POLICY_REFRESH_MS: 5_000,
      SOURCES: settings.source && sourcesOf(settings.source.marked),
    });
    const database = await openWatched(world, process);
    const log = createVirtualLogger(world.trace, process);
    return startDispatcher({ config, database, clock: process.clock, log });
  };
}

export function relayProgram(): Program {
  return async (world, process) => {
    const { settings } = world;
    const config = relayConfigSchema.parse({
      MONGODB_URI: uri,
      ACTOR_ID: process.name,
      RELAY_HOSTNAME: tenantDomain,
      BUS_DISPATCHERS: settings.dispatchers.map(endpointOf).join(","),
      RELAY_LEASE_MS: settings.leaseMs,
      RELAY_POLL_MS: settings.pollMs,
      RELAY_PROBE_MS: 4_000,
      RELAY_IDLE_MS: 3_000,
      RELAY_CONCURRENCY: settings.concurrency,
      RELAY_BATCH: settings.batch,
      RELAY_TIMEOUT_CONNECT_MS: 4_000,
      RELAY_TIMEOUT_GREETING_MS: 4_000,
      RELAY_TIMEOUT_MAIL_MS: 6_000,
      RELAY_TIMEOUT_RCPT_MS: 6_000,
      RELAY_TIMEOUT_DATA_MS: 6_000,
      RELAY_TIMEOUT_BLOCK_MS: 6_000,
      RELAY_TIMEOUT_FINAL_MS: longestTimeoutMs,
    });
    const database = await openWatched(world, process);
    const log = createVirtualLogger(world.trace, process);
    const askDns = world.bug?.askDns?.() ?? virtualDns(world, process);
    const relay = await startRelay({ config, database, clock: process.clock, log, askDns });
    relay.ready.catch(() => process.end());
    return relay;
  };
}

/** The longest of the relay's time-outs (I8). */
export const longestTimeoutMs = 10_000;

/** The first spam-worker has spamd, the second rspamd, and so on. */
export function workerProgram(kind: TaskKind, index: number): Program {
  const engineName = kind === "spam" ? engineOf(index) : "sim";
  return (world, process) => {
    const { settings } = world;
    const config = workerConfigSchema.parse({
      ACTOR_ID: process.name,
      BUS_DISPATCHERS: settings.dispatchers.map(endpointOf).join(","),
      CANARY_INTERVAL_MS: 4_000,
    });
    const engine = healthyEngine();
    world.engines.push(engine);
    process.onEnd(() => world.engines.splice(world.engines.indexOf(engine), 1));
    const handler = createEngine({
      kind,
      engineName,
      process,
      random: process.random.fork("engine"),
      engine,
      concurrency: settings.concurrency,
      truthOf: (sha256) => world.truthOf(sha256),
      onBegun: (work) => world.invariants.works.onBegun(work),
      onDone: (work) => world.invariants.works.onDone(work),
    });
    const log = createVirtualLogger(world.trace, process);
    return Promise.resolve(startWorker({ config, handler, clock: process.clock, log }));
  };
}

function engineOf(index: number): string {
  return spamEngines[index % spamEngines.length] ?? "sim";
}

function endpointOf(index: number): string {
  return `tcp://127.0.0.1:${7_001 + index}`;
}

/** Runs a program as `runService` does; however it ends, the process ends too. */
export function run(world: World, process: VirtualProcess, program: Program): void {
  const end = (error: unknown, how: string) => {
    if (!(error instanceof RsError)) {
      world.fail(process, "is ended by a bug", error);
      return;
    }
    world.note(`${process.name} ${how}: ${error.message}`);
    process.end();
  };
  program(world, process).then(
    (handle) => {
      process.handle = handle;
      handle.done.then(
        () => process.end(),
        (error: unknown) => end(error, "ends"),
      );
    },
    (error: unknown) => end(error, "does not start"),
  );
}

/** Like SIGTERM. */
export function drain(world: World, process: VirtualProcess): void {
  const { handle } = process;
  if (handle === undefined) return process.end();
  handle.drain(AbortSignal.timeout(drainMs)).then(
    () => process.end(),
    (error: unknown) => world.fail(process, "its drain failed", error),
  );
  setTimeout(() => process.end(), drainMs + 2_000);
}
