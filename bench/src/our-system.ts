import { fileURLToPath } from "node:url";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { parsePolicyYaml } from "@rs-agent/shared/policy/yaml.ts";
import { openDatabase, type Database } from "@rs-agent/shared/store/database.ts";
import type { RunningClamd } from "@rs-agent/kit/engines/clamd.ts";
import type { RunningRspamd } from "@rs-agent/kit/engines/rspamd.ts";
import type { RunningSpamd } from "@rs-agent/kit/engines/spamd.ts";
import { serviceNames } from "@rs-agent/kit/system/service-names.ts";
import { startSystem, type RunningSystem } from "@rs-agent/kit/system/system.ts";
import type { MailServer } from "./mail-server.ts";
import { recipientDomain } from "./sample-mails.ts";
import type { SmtpSink } from "./smtp-sink.ts";

export interface OurOptions {
  runDir: string;
  sink: SmtpSink;
  signal: AbortSignal;
  /** The engines that it asks; policy turns off a check without an engine. */
  clamd?: RunningClamd;
  spamd?: { running: RunningSpamd; children: number };
  /** Instead of spamd. */
  rspamd?: RunningRspamd;
}

export interface OurSystem extends MailServer {
  system: RunningSystem;
}

/**
 * A worker service without an engine, with the settings NULL_TASK, NULL_WORK_MS and
 * NULL_CONCURRENCY.
 */
export const nullWorker = fileURLToPath(new URL("null-engine-service.ts", import.meta.url));

/**
 * The whole system as it ships, one process of each service, every change of the default policy on.
 * It takes mail by SMTP and relays it to the sink.
 */
export async function startOurs(options: OurOptions): Promise<OurSystem> {
  const { runDir, sink, signal, clamd, spamd, rspamd } = options;
  const hasSpamEngine = spamd !== undefined || rspamd !== undefined;
  const system = await startSystem({
    runDir,
    counts: {
      "av-worker": clamd === undefined ? 0 : 1,
      "spam-worker": hasSpamEngine ? 1 : 0,
    },
    ...(clamd === undefined ? {} : { clamd: clamd.address }),
    ...(spamd === undefined ? {} : { spamd: spamd.running.address }),
    ...(rspamd === undefined ? {} : { rspamd: rspamd.address, spamEngine: "rspamd" }),
    nextHop: sink.address,
    serviceEnv: {
      ingest: withoutDns,
      "spam-worker": { SPAM_CHILDREN: spamd === undefined ? undefined : String(spamd.children) },
    },
    signal,
    prepare: (mongodb) => {
      refuseSlowServer(mongodb);
      return storePolicy(mongodb, { virus: clamd !== undefined, spam: hasSpamEngine });
    },
    restart: false,
  });
  const engines = {
    ...(clamd === undefined ? {} : { clamd: [clamd.pid] }),
    ...(spamd === undefined ? {} : { spamd: [spamd.running.pid] }),
    ...(rspamd === undefined ? {} : { rspamd: [rspamd.pid] }),
  };
  return {
    system,
    name: "ours",
    address: system.smtp,
    about: databaseText(system.mongodb),
    processes: () => ({ ...pidsOf(system), ...engines }),
    stop: () => system.stop(),
  };
}

/**
 * Figures measured with the server that is only for trials say nothing about any other.
 * @throws TerminalError SETUP_MISSING
 */
export function refuseSlowServer({ server }: { server: string }): void {
  if (!server.includes("from pip")) return;
  const text =
    "no benchmarks on SecantusDB's Python server: put a mongod or secantusd-rs on the PATH";
  throw new TerminalError("SETUP_MISSING", text);
}

/** Which database, and what it survives. */
export function databaseText({
  server,
  durability,
}: {
  server: string;
  durability: string;
}): string {
  return `${server}; ${durability}`;
}

/** The peers are not told to look up the client's name either. */
export const withoutDns = { INGEST_REVERSE_LOOKUP: "off" };

/** Whose mail it is, and which checks are made. */
export async function storePolicy(
  mongodb: RunningSystem["mongodb"],
  checks: { virus: boolean; spam: boolean },
): Promise<void> {
  const policy = {
    default: checks,
    tenants: { bench: { domains: [recipientDomain] } },
  };
  const documents = parsePolicyYaml(JSON.stringify(policy), "the bench's policy");
  await withDatabase(mongodb, ({ policies }) => policies.replace(documents));
}

/** A system's database, open for as long as `use` takes. */
export async function withDatabase<T>(
  { uri, db }: Pick<RunningSystem["mongodb"], "uri" | "db">,
  use: (database: Database) => Promise<T>,
): Promise<T> {
  const log = createSilentLogger();
  await using database = await openDatabase({ uri, db, clock: systemClock, log });
  return await use(database);
}

/** All processes of a system by service, and its database's. */
export function pidsOf(system: RunningSystem): Record<string, readonly number[]> {
  const pids = system.pids();
  const services = serviceNames
    .filter((name) => pids[name].length > 0)
    .map((name): [string, readonly number[]] => [name, pids[name]]);
  const { pid } = system.mongodb;
  return { ...Object.fromEntries(services), ...(pid === undefined ? {} : { database: [pid] }) };
}
