import { mkdir } from "node:fs/promises";
import { setTimeout as delay } from "node:timers/promises";
import { MongoClient, MongoServerError, ObjectId, type Document } from "mongodb";
import { TerminalError, messageOf } from "@rs-agent/shared/errors.ts";
import { freePort } from "../free-port.ts";
import { startChild, untilReady } from "../processes/child.ts";
import type { ServerProgram } from "./providers.ts";

export interface ServerProcess {
  uri: string;
  /** MongoDB's version as `buildInfo` reports it, or SecantusDB's own. */
  version: string;
  port: number;
  pid: number;
  /** Settles when the process has ended, for whatever reason, and says how. */
  ended: Promise<string>;
  stop(): Promise<void>;
}

const readyWithinMs = 60_000;
const stopWithinMs = 15_000;
const replicaSet = "rs0";
/** The server's own databases. */
const ownDatabases = ["admin", "config", "local"];

/**
 * Starts a server on 127.0.0.1, on that port or a free one, and waits until `hello` says that it is
 * a writable primary. The child has a process group of its own: Ctrl-C in the terminal reaches us,
 * and we stop the server last, after the services have drained.
 * @throws TerminalError SETUP_FAILED with the end of what the server printed
 */
export async function startServerProcess(
  program: ServerProgram,
  dataDir: string,
  port?: number,
): Promise<ServerProcess> {
  await mkdir(dataDir, { recursive: true });
  if (port !== undefined) return startOnce(program, dataDir, port);
  // Another process may take the free port before the server binds it: try again.
  for (let attempt = 1; ; attempt++) {
    try {
      return await startOnce(program, dataDir, await freePort());
    } catch (error) {
      if (attempt === 3 || !/address already in use|EADDRINUSE/i.test(messageOf(error)))
        throw error;
    }
  }
}

async function startOnce(program: ServerProgram, dataDir: string, port: number) {
  const child = startChild(program.file, argumentsOf(program, dataDir, port), { stopWithinMs });
  const uri = `mongodb://127.0.0.1:${port}/?directConnection=true`;
  const ready = async (signal: AbortSignal) => {
    const version = await untilPrimary(uri, program.kind, port, signal);
    if (program.kind === "secantus") await askOnce(uri);
    return version;
  };
  try {
    const version = await untilReady(child, ready, { withinMs: readyWithinMs });
    const { pid, ended, stop } = child;
    return { uri, version, port, pid, ended, stop };
  } catch (error) {
    const text = `${program.file}: ${messageOf(error)}\n${child.said()}`;
    throw new TerminalError("SETUP_FAILED", text, { cause: error });
  }
}

function argumentsOf(program: ServerProgram, dataDir: string, port: number): string[] {
  if (program.kind === "secantus")
    return [...program.args, "--port", String(port), "--storage-path", dataDir];
  const where = ["--dbpath", dataDir, "--bind_ip", "127.0.0.1", "--port", String(port)];
  const modest = ["--nounixsocket", "--wiredTigerCacheSizeGB", "1", "--quiet"];
  return [...program.args, ...where, "--replSet", replicaSet, ...modest];
}

/** Polls `hello` until the server is a writable primary; makes mongod a one-node replica set. */
async function untilPrimary(
  uri: string,
  kind: ServerProgram["kind"],
  port: number,
  signal: AbortSignal,
): Promise<string> {
  for (;;) {
    try {
      // A new client each time: one whose first connection failed is of no use later (`Topology is
      // closed`).
      await using client = new MongoClient(uri, {
        serverSelectionTimeoutMS: 2_000,
        minHeartbeatFrequencyMS: 50,
        heartbeatFrequencyMS: 500,
      });
      const admin = client.db("admin");
      const hello = await admin.command({ hello: 1 });
      if (hello.isWritablePrimary === true) return versionOf(await admin.command({ buildInfo: 1 }));
      if (kind === "mongod") await makeReplicaSet(client, hello, port);
    } catch {
      // Not yet.
    }
    await delay(50, undefined, { signal });
  }
}

/**
 * After its start, SecantusDB reads a whole collection for the first query on it, and again for
 * each query that comes before that is done. At 25,000 mails each read costs a second of CPU and
 * hundreds of megabytes, more than there is when a whole system asks at once. So each collection
 * gets one query before anybody knows the port.
 */
async function askOnce(uri: string): Promise<void> {
  await using client = new MongoClient(uri);
  const { databases } = await client.db("admin").admin().listDatabases({ nameOnly: true });
  for (const { name } of databases.filter((each) => !ownDatabases.includes(each.name))) {
    const db = client.db(name);
    for (const collection of await db.listCollections({}, { nameOnly: true }).toArray()) {
      await db.collection(collection.name).findOne({ _id: new ObjectId() });
    }
  }
}

/** A data folder from an earlier start holds the set's configuration with the port of that time. */
async function makeReplicaSet(client: MongoClient, hello: Document, port: number): Promise<void> {
  const admin = client.db("admin");
  const members = [{ _id: 0, host: `127.0.0.1:${port}` }];
  try {
    const { config } = (await admin.command({ replSetGetConfig: 1 })) as { config: Document };
    const [member] = config.members as { host: string }[];
    if (member?.host === members[0]?.host || hello.secondary === true) return;
    const version = Number(config.version) + 1;
    await admin.command({ replSetReconfig: { ...config, version, members }, force: true });
  } catch (error) {
    const notYetInitialized = error instanceof MongoServerError && error.code === 94;
    if (!notYetInitialized) throw error;
    await admin.command({ replSetInitiate: { _id: replicaSet, members } });
  }
}

function versionOf(buildInfo: Document): string {
  const { secantusVersion, version } = buildInfo as { secantusVersion?: string; version: string };
  return secantusVersion ?? version;
}
