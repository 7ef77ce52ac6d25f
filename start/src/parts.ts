import { mkdirSync } from "node:fs";
import { availableParallelism } from "node:os";
import { join } from "node:path";
import { startClamd } from "./engines/clamd.ts";
import { startSpamd } from "./engines/spamd.ts";
import { startMaildirServer } from "./maildir-server.ts";
import { startMongoDb } from "./mongodb.ts";
import type { SystemOptions } from "./system.ts";

/** What the services need around them: ours, or what was named instead. */
export interface Parts {
  mongodb: { uri: string; db: string; server: string; durability: string; pid?: number };
  nextHop: { address: string; maildir?: string };
  clamd: string | undefined;
  spamd: string | undefined;
  /** Of our own spamd. */
  spamdChildren: number | undefined;
  stop(): Promise<void>;
}

interface Stoppable {
  stop(): Promise<void>;
}

/**
 * Starts what was not named, all at once. If one does not start, the others are stopped again.
 * @throws what the first to fail said
 */
export async function startParts(
  options: SystemOptions,
  note: (pid: number) => void,
): Promise<Parts> {
  const started: Stoppable[] = [];
  const keep = <T extends Stoppable & { pid?: number }>(part: T): T => {
    started.unshift(part);
    if (part.pid !== undefined) note(part.pid);
    return part;
  };
  const stop = async () => {
    await Promise.all(started.splice(0).map(async (part) => part.stop()));
  };
  const [mongodb, nextHop, clamd, spamd] = await Promise.allSettled([
    mongodbOf(options, keep),
    nextHopOf(options, keep),
    clamdOf(options, keep),
    spamdOf(options, keep),
  ]);
  for (const part of [mongodb, nextHop, clamd, spamd]) {
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
    stop,
  };
}

type Keep = <T extends Stoppable & { pid?: number }>(part: T) => T;

async function mongodbOf(options: SystemOptions, keep: Keep): Promise<Parts["mongodb"]> {
  const db = options.db ?? "rs_agent";
  if (options.mongodb !== undefined) {
    return { uri: options.mongodb, db, server: "MONGODB_URI", durability: "as it is set up" };
  }
  const dataDir = join(options.runDir, "mongodb");
  mkdirSync(dataDir, { recursive: true });
  const server = keep(await startMongoDb({ dataDir, report: reporter(options, "mongodb") }));
  options.report?.("mongodb", undefined);
  return {
    uri: server.uri,
    db,
    server: server.server,
    durability: server.durability,
    pid: server.pid,
  };
}

async function nextHopOf(options: SystemOptions, keep: Keep): Promise<Parts["nextHop"]> {
  if (options.nextHop !== undefined) return { address: options.nextHop };
  const server = keep(await startMaildirServer({ dir: join(options.runDir, "maildir") }));
  return { address: `127.0.0.1:${server.port}`, maildir: server.dir };
}

async function clamdOf(options: SystemOptions, keep: Keep): Promise<string | undefined> {
  if (options.clamd !== undefined || options.counts?.["av-worker"] === 0) return options.clamd;
  const dir = join(options.runDir, "clamd");
  const server = keep(
    await startClamd({ dir, report: reporter(options, "clamd"), ...signalOf(options) }),
  );
  options.report?.("clamd", undefined);
  return server.address;
}

async function spamdOf(
  options: SystemOptions,
  keep: Keep,
): Promise<{ address: string | undefined; children: number | undefined }> {
  if (options.spamd !== undefined || options.counts?.["spam-worker"] === 0) {
    return { address: options.spamd, children: undefined };
  }
  const children = Math.max(2, availableParallelism());
  const server = keep(
    await startSpamd({
      dir: join(options.runDir, "spamd"),
      children,
      report: reporter(options, "spamd"),
      ...signalOf(options),
    }),
  );
  options.report?.("spamd", undefined);
  return { address: server.address, children };
}

function reporter(options: SystemOptions, part: string): (text: string) => void {
  return (text) => options.report?.(part, text);
}

function signalOf({ signal }: SystemOptions): { signal?: AbortSignal } {
  return signal === undefined ? {} : { signal };
}

function valueOf<T>(settled: PromiseSettledResult<T>): T {
  if (settled.status === "rejected") throw settled.reason;
  return settled.value;
}
