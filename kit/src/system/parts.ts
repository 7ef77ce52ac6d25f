import { mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { SpamEngineName } from "@rs-agent/shared/checks/spam.ts";
import { startClamd, type RunningClamd } from "../engines/clamd.ts";
import { startRspamd, type RunningRspamd } from "../engines/rspamd.ts";
import { startSpamd, type RunningSpamd } from "../engines/spamd.ts";
import { keepRunning, type KeptRunning, type Server } from "../processes/keep-running.ts";
import { startMaildirServer } from "../smtp/maildir-server.ts";
import { startMongoDb, type PrivateMongoDb } from "../mongodb/mongodb.ts";
import type { SystemOptions } from "./system.ts";

/** What the services need around them: our own, or what was named instead. */
export interface Parts {
  mongodb: { uri: string; db: string; server: string; durability: string; pid?: number };
  nextHop: { address: string; maildir?: string };
  clamd: string | undefined;
  spamd: string | undefined;
  rspamd: string | undefined;
  /** Only with our own spamd. */
  spamdChildren: number | undefined;
  stop(): Promise<void>;
}

interface Stoppable {
  stop(): Promise<void>;
}

interface Starting {
  options: SystemOptions;
  /** Notes a process, for the next start to end if this one is killed. */
  note: (pid: number) => void;
  /** Collects what must be stopped in the end. */
  started: Stoppable[];
}

/**
 * Starts all that was not named, at once. If one part does not start, the others are stopped again.
 * A part that ends by itself is restarted where it was, unless `restart` is false.
 * @throws what the first to fail said
 */
export async function startParts(
  options: SystemOptions,
  note: (pid: number) => void,
): Promise<Parts> {
  const starting: Starting = { options, note, started: [] };
  const stop = async () => {
    await Promise.all(starting.started.splice(0).map(async (part) => part.stop()));
  };
  const [mongodb, nextHop, clamd, spamd, rspamd] = await Promise.allSettled([
    mongodbOf(starting),
    nextHopOf(starting),
    clamdOf(starting),
    spamdOf(starting),
    rspamdOf(starting),
  ]);
  for (const part of [mongodb, nextHop, clamd, spamd, rspamd]) {
    if (part.status === "fulfilled") continue;
    await stop();
    throw part.reason;
  }
  return {
    mongodb: valueOf(mongodb),
    nextHop: valueOf(nextHop),
    clamd: valueOf(clamd),
    spamd: valueOf(spamd).address,
    spamdChildren: valueOf(spamd).children,
    rspamd: valueOf(rspamd),
    stop,
  };
}

/** Starts a server that is kept running, unless the system itself is not restarted. */
async function kept<S extends Server>(
  { options, note, started }: Starting,
  name: string,
  start: (before: S | undefined, signal: AbortSignal) => Promise<S>,
): Promise<S> {
  const { restart = true, onTrouble, signal, report } = options;
  const never = new AbortController().signal;
  const server: KeptRunning<S> = await keepRunning({
    name,
    start: async (before, giveUp) => {
      const next = await start(before, giveUp);
      report?.(name, undefined);
      return next;
    },
    onStart: ({ pid }) => note(pid),
    onTrouble: onTrouble ?? (() => undefined),
    restart,
    signal: signal ?? never,
  });
  started.unshift(server);
  return server.first;
}

async function mongodbOf(starting: Starting): Promise<Parts["mongodb"]> {
  const { options } = starting;
  const db = options.db ?? "rs_agent";
  if (options.mongodb !== undefined) {
    return { uri: options.mongodb, db, server: "MONGODB_URI", durability: "as it is set up" };
  }
  const dataDir = join(options.runDir, "mongodb");
  mkdirSync(dataDir, { recursive: true });
  const report = reporter(options, "mongodb");
  const { uri, server, durability, pid } = await kept<PrivateMongoDb>(
    starting,
    "mongodb",
    (before) => startMongoDb({ dataDir, report, ...portOf(before) }),
  );
  return { uri, db, server, durability, pid };
}

async function nextHopOf({ options, started }: Starting): Promise<Parts["nextHop"]> {
  if (options.nextHop !== undefined) return { address: options.nextHop };
  const server = await startMaildirServer({ dir: join(options.runDir, "maildir") });
  started.unshift(server);
  return { address: `127.0.0.1:${server.port}`, maildir: server.dir };
}

async function clamdOf(starting: Starting): Promise<string | undefined> {
  const { options } = starting;
  if (options.clamd !== undefined || options.counts?.["av-worker"] === 0) return options.clamd;
  const dir = join(options.runDir, "clamd");
  const report = reporter(options, "clamd");
  const { address } = await kept<RunningClamd>(starting, "clamd", (before, signal) =>
    startClamd({ dir, report, signal, ...portOf(before) }),
  );
  return address;
}

async function spamdOf(
  starting: Starting,
): Promise<{ address: string | undefined; children: number | undefined }> {
  const { options } = starting;
  if (options.spamd !== undefined || !isOurs(options, "spamd")) {
    return { address: options.spamd, children: undefined };
  }
  const children = Math.max(2, availableParallelism());
  const dir = join(options.runDir, "spamd");
  const report = reporter(options, "spamd");
  const { address } = await kept<RunningSpamd>(starting, "spamd", (before, signal) =>
    startSpamd({ dir, children, report, signal, ...portOf(before) }),
  );
  return { address, children };
}

async function rspamdOf(starting: Starting): Promise<string | undefined> {
  const { options } = starting;
  if (options.rspamd !== undefined || !isOurs(options, "rspamd")) return options.rspamd;
  const dir = join(options.runDir, "rspamd");
  const processes = availableParallelism();
  const report = reporter(options, "rspamd");
  const { address } = await kept<RunningRspamd>(starting, "rspamd", (before, signal) =>
    startRspamd({ dir, processes, report, signal, ...portOf(before) }),
  );
  return address;
}

/** Whether the system's spam engine is this one. */
function isOurs({ spamEngine, counts }: SystemOptions, engine: SpamEngineName): boolean {
  return (spamEngine ?? "spamd") === engine && counts?.["spam-worker"] !== 0;
}

/** A restarted part must be where the services look for it. */
function portOf(before: { port: number } | undefined): { port?: number } {
  return before === undefined ? {} : { port: before.port };
}

function reporter(options: SystemOptions, part: string): (text: string) => void {
  return (text) => options.report?.(part, text);
}

function valueOf<T>(settled: PromiseSettledResult<T>): T {
  if (settled.status === "rejected") throw settled.reason;
  return settled.value;
}
