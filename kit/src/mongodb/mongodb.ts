import { join } from "node:path";
import { TerminalError, messageOf } from "@rs-agent/shared/errors.ts";
import { cacheFolderOf, loadMongoDbConfig, providerNames, type ProviderName } from "./config.ts";
import { providers, type ServerProgram } from "./providers.ts";
import { startServerProcess } from "./server-process.ts";

/** A private MongoDB-protocol server that runs as our child. */
export interface PrivateMongoDb {
  uri: string;
  /** The provider to force with RS_AGENT_MONGODB in order to find the same data again. */
  provider: ProviderName;
  /** Name, version and where it came from: every proof and benchmark prints it. */
  server: string;
  /** What an acknowledged write survives. */
  durability: string;
  port: number;
  pid: number;
  /** Settles when the process has ended, for whatever reason. */
  ended: Promise<unknown>;
  /** Asks the server to end and waits until it has. Its data stay. */
  stop(): Promise<void>;
}

/**
 * Starts a MongoDB for trials, tests and benchmarks: the first of the providers that works (or the
 * one that RS_AGENT_MONGODB names). Callers check MONGODB_URI themselves: if it is set, no server
 * is started. Each provider has its own folder inside `dataDir`, because no two servers read each
 * other's files.
 * @throws TerminalError SETUP_MISSING saying what was tried and why it failed; SETUP_FAILED if the
 *   server that RS_AGENT_MONGODB forces does not get ready
 */
export async function startMongoDb(options: {
  cacheDir?: string;
  dataDir: string;
  /** Absent: a free port. */
  port?: number;
  report: (text: string) => void;
  env?: NodeJS.ProcessEnv;
}): Promise<PrivateMongoDb> {
  const env = options.env ?? process.env;
  const config = loadMongoDbConfig(env);
  const cacheDir = options.cacheDir ?? cacheFolderOf(config);
  const context = { cacheDir, path: config.PATH, env, report: options.report };
  const forced = config.RS_AGENT_MONGODB;
  const reasons: string[] = [];
  for (const name of forced === undefined ? providerNames : [forced]) {
    const found = await providers[name](context);
    if ("missing" in found) {
      reasons.push(`${name}: ${found.missing}`);
      continue;
    }
    options.report(`starting ${name} (${found.program.source})`);
    try {
      const started = await startServerProcess(
        found.program,
        join(options.dataDir, name),
        options.port,
      );
      return { ...started, provider: name, ...describe(found.program, started.version) };
    } catch (error) {
      if (forced !== undefined) throw error;
      reasons.push(`${name}: ${messageOf(error)}`);
    }
  }
  throw new TerminalError(
    "SETUP_MISSING",
    `no MongoDB could be started; set MONGODB_URI to one of yours, or make one of these work:\n` +
      reasons.map((reason) => `  ${reason.replaceAll("\n", "\n  ")}`).join("\n"),
  );
}

function describe(program: ServerProgram, version: string) {
  if (program.kind === "mongod")
    return {
      server: `mongod ${version} (${program.source})`,
      durability: "one-node replica set, majority and journaled",
    };
  return {
    server: `SecantusDB ${version} (${program.source})`,
    durability: "one node, log synced at each commit (--sync-on-commit)",
  };
}
