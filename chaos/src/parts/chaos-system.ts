import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { MongoClient } from "mongodb";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import { openDatabase, type Database } from "@rs-agent/shared/store/database.ts";
import { parseSources, type SourceConfig } from "@rs-agent/shared/store/source-config.ts";
import { startClamd } from "@rs-agent/kit/engines/clamd.ts";
import { startSpamd } from "@rs-agent/kit/engines/spamd.ts";
import { freePort } from "@rs-agent/kit/free-port.ts";
import { takeOver } from "@rs-agent/kit/processes/leftovers.ts";
import { startMongoDb } from "@rs-agent/kit/mongodb/mongodb.ts";
import type { ProcessEnd } from "@rs-agent/kit/processes/service-process.ts";
import { serviceNames } from "@rs-agent/kit/system/service-names.ts";
import {
  startSystem,
  type RunningSystem,
  type SystemOptions,
} from "@rs-agent/kit/system/system.ts";
import { chaosPolicy, clientAddresses, senderRecords } from "../mails/policy.ts";
import { openLink, type Link } from "./link.ts";
import { startNameServer } from "@rs-agent/kit/name-server.ts";
import { Part, type Running } from "./part.ts";
import { quickSettings } from "./quick-settings.ts";
import { startSpamEngine, type Judged } from "./spam-engine-process.ts";

/** Each av-worker has its own clamd: what kills one does not touch what the other is working on. */
export const partNames = ["database", "clamd", "clamd-2", "spamd", "spam-engine"] as const;
export type PartName = (typeof partNames)[number];

/** Connections that a run may cut, named by either end. */
export const cuttableLinks = [
  "ingest-database",
  "dispatcher-database",
  "dispatcher-database-2",
  "relay-database",
  "relay-database-2",
  "next-hop",
  "clamd",
  "clamd-2",
  "spamd",
  "spam-engine",
  // What our spam engine passes on.
  "engine-spamd",
  "client-ingest",
  "client-ingest-2",
  // The bus: results on their way to a dispatcher, tasks on their way to a worker.
  "results-dispatcher",
  "results-dispatcher-2",
  "tasks-av-worker",
  "tasks-spam-worker",
  "tasks-enricher",
  "tasks-enricher-2",
] as const;
/** The last two are left alone: mail is inserted and the run is watched through them. */
const linkNames = [...cuttableLinks, "inserter-database", "observer-database"] as const;
export type LinkName = (typeof linkNames)[number];

export interface ChaosSystemOptions {
  runDir: string;
  /** `host:port` of the next hop. */
  sink: string;
  /** Told about each check that our own spam engine answered. */
  onJudged: (judged: Judged) => void;
  onEnd: (end: ProcessEnd) => void;
  onTrouble: (text: string) => void;
  report: (part: string, text: string | undefined) => void;
  signal: AbortSignal;
}

/** The whole private system of a run, with all connections through links. */
export interface ChaosSystem {
  readonly services: RunningSystem;
  readonly parts: Readonly<Record<PartName, Part>>;
  readonly links: Readonly<Record<LinkName, Link>>;
  /** Over a connection that no fault touches but the database's own death. */
  readonly database: Database;
  readonly observer: MongoClient;
  readonly inserter: MongoClient;
  readonly source: SourceConfig;
  readonly dbName: string;
  /** Which MongoDB, and what it survives. */
  readonly server: string;
  readonly durability: string;
  readonly spoolDir: string;
  /** The public half of the DKIM key. */
  readonly dnsRecord: string;
  stop(): Promise<void>;
}

const dbName = "chaos";
const sourceName = "inbox";
const spamdChildren = 2;
/**
 * Requests at once of the spam-worker with our engine, and of the one with spamd. The first has
 * several that wait for spamd behind the engine, and these must not hold up the others.
 */
const spamRequests = [10, 1] as const;
/** Two of each: what one of them holds when it dies, the other must finish. */
const two = 2;

/** Starts the system. If something does not start, what did is stopped again. */
export async function startChaosSystem(options: ChaosSystemOptions): Promise<ChaosSystem> {
  const undo: (() => Promise<unknown>)[] = [];
  const stop = async () => {
    for (const each of undo.splice(0).reverse()) await each();
  };
  try {
    return { ...(await start(options, undo)), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function start(
  options: ChaosSystemOptions,
  undo: (() => Promise<unknown>)[],
): Promise<Omit<ChaosSystem, "stop">> {
  const { runDir, signal } = options;
  const keyFile = join(runDir, "dkim.pem");
  const spoolDir = join(runDir, "spool");
  mkdirSync(spoolDir, { recursive: true });
  const links = await openLinks();
  undo.push(() => Promise.all(Object.values(links).map((link) => link.close())));
  links["next-hop"].leadTo(options.sink);
  const about = { server: "", durability: "" };
  const parts = createParts(options, links, about);
  undo.push(() => Promise.all(Object.values(parts).map((part) => part.stop())));
  await Promise.all(Object.values(parts).map((part) => part.start()));

  // It reads all records of a run at the end, on a machine that may be busy.
  const observer = new MongoClient(uriOf(links["observer-database"]), {
    promoteBuffers: true,
    socketTimeoutMS: 120_000,
  });
  const inserter = new MongoClient(uriOf(links["inserter-database"]));
  undo.push(() => Promise.all([observer.close(), inserter.close()]));
  await Promise.all([observer.connect(), inserter.connect()]);
  const database = await openDatabase({
    uri: uriOf(links["observer-database"]),
    db: dbName,
    clock: systemClock,
    log: createSilentLogger(),
  });
  undo.push(() => database.close());
  const nameServer = await startNameServer(senderRecords);
  undo.push(() => nameServer.close());
  const { documents, dnsRecord } = chaosPolicy(keyFile);
  await database.policies.replace(documents);

  const { sources, source } = ourSource();
  const { report, onEnd, onTrouble } = options;
  const services = await startSystem({
    runDir,
    counts: Object.fromEntries(serviceNames.map((name) => [name, two])),
    mongodb: uriOf(links["observer-database"]),
    db: dbName,
    clamd: links.clamd.address,
    spamd: links.spamd.address,
    nextHop: links["next-hop"].address,
    env: { ...quickSettings, DNS_SERVERS: nameServer.address },
    serviceEnv: await serviceEnv(links, sources, spoolDir),
    ...{ report, onEnd, onTrouble, signal },
  });
  undo.push(() => services.stop());
  return {
    services,
    parts,
    links,
    database,
    observer,
    inserter,
    source,
    dbName,
    spoolDir,
    dnsRecord,
    ...about,
  };
}

async function openLinks(): Promise<Record<LinkName, Link>> {
  const opened = await Promise.all(linkNames.map(async (name) => [name, await openLink(name)]));
  return Object.fromEntries(opened) as Record<LinkName, Link>;
}

function createParts(
  { runDir, onJudged, onTrouble, report, signal }: ChaosSystemOptions,
  links: Record<LinkName, Link>,
  about: { server: string; durability: string },
): Record<PartName, Part> {
  let provider: string | undefined;
  const processes = takeOver(join(runDir, "processes"));
  const part = (name: PartName, to: readonly Link[], start: () => Promise<Running>) =>
    new Part({ name, links: to, onStart: (pid) => processes.note(pid), onTrouble, start });
  const say = (name: string) => (text: string) => report(name, text);
  const clamd = (name: PartName & LinkName) =>
    part(name, [links[name]], () =>
      startClamd({ dir: join(runDir, name), report: say(name), signal }),
    );
  return {
    database: part(
      "database",
      linkNames.filter((name) => name.includes("-database")).map((name) => links[name]),
      async () => {
        const dataDir = join(runDir, "mongodb");
        // Another provider than the first time would find an empty folder.
        const env = { ...process.env, ...(provider && { RS_AGENT_MONGODB: provider }) };
        const server = await startMongoDb({ dataDir, env, report: say("database") });
        ({ provider } = server);
        about.server = server.server;
        about.durability = server.durability;
        return { ...server, address: new URL(server.uri).host };
      },
    ),
    clamd: clamd("clamd"),
    "clamd-2": clamd("clamd-2"),
    spamd: part("spamd", [links.spamd, links["engine-spamd"]], () =>
      startSpamd({
        dir: join(runDir, "spamd"),
        children: spamdChildren,
        report: say("spamd"),
        signal,
      }),
    ),
    "spam-engine": part("spam-engine", [links["spam-engine"]], () =>
      startSpamEngine(links["engine-spamd"].address, onJudged),
    ),
  };
}

function ourSource(): { sources: string; source: SourceConfig } {
  const collection = { db: dbName, collection: sourceName, bucket: sourceName };
  const sources = JSON.stringify([
    {
      name: sourceName,
      ...collection,
      form: "native",
      mode: "deliver",
      networks: [clientAddresses.outgoing],
    },
  ]);
  const [source] = parseSources(sources);
  if (source === undefined) throw new Error("there is no source");
  return { sources, source };
}

/**
 * Which service is where, behind which link; one av-worker shares the dispatchers' disk, the other
 * does not.
 */
async function serviceEnv(
  links: Record<LinkName, Link>,
  sources: string,
  spoolDir: string,
): Promise<NonNullable<SystemOptions["serviceEnv"]>> {
  const smtp = await behind(links, ["client-ingest", "client-ingest-2"]);
  const results = await behind(links, ["results-dispatcher", "results-dispatcher-2"]);
  // The mailboxes of the second av-worker and spam-worker are behind no link.
  const avTasks = await behind(links, ["tasks-av-worker"]);
  const spamTasks = await behind(links, ["tasks-spam-worker"]);
  const enrichTasks = await behind(links, ["tasks-enricher", "tasks-enricher-2"]);
  const database = (name: LinkName) => ({ MONGODB_URI: uriOf(links[name]) });
  const dispatchers = results.map(({ outside }) => `tcp://${outside}`).join(",");
  const worker = (mailbox: Behind | undefined) => ({
    BUS_DISPATCHERS: dispatchers,
    ...(mailbox !== undefined
      ? { BUS_BIND: `tcp://${mailbox.inside}`, BUS_ADVERTISE: `tcp://${mailbox.outside}` }
      : {}),
  });
  const own = (nth: number, one: LinkName, other: LinkName) => (nth === 0 ? one : other);
  return {
    ingest: (nth) => ({ ...database("ingest-database"), INGEST_SMTP: smtp[nth]?.inside }),
    dispatcher: (nth) => ({
      ...database(own(nth, "dispatcher-database", "dispatcher-database-2")),
      BUS_BIND: `tcp://${results[nth]?.inside ?? ""}`,
      SOURCES: sources,
      SPOOL_DIR: spoolDir,
    }),
    "av-worker": (nth) => ({
      ...worker(avTasks[nth]),
      AV_CLAMD: links[own(nth, "clamd", "clamd-2")].address,
      ...(nth === 0 ? { SPOOL_DIR: spoolDir } : {}),
    }),
    "spam-worker": (nth) => ({
      ...worker(spamTasks[nth]),
      SPAM_SPAMD: links[own(nth, "spam-engine", "spamd")].address,
      SPAM_CHILDREN: String(spamRequests[nth]),
    }),
    enricher: (nth) => worker(enrichTasks[nth]),
    relay: (nth) => ({
      ...database(own(nth, "relay-database", "relay-database-2")),
      BUS_DISPATCHERS: dispatchers,
    }),
  };
}

/** Where a service binds, and where others find it. */
interface Behind {
  inside: string;
  outside: string;
}

/** A free address for the server behind each of these links. */
async function behind(
  links: Record<LinkName, Link>,
  names: readonly LinkName[],
): Promise<Behind[]> {
  return Promise.all(
    names.map(async (name) => {
      const inside = `127.0.0.1:${await freePort()}`;
      links[name].leadTo(inside);
      return { inside, outside: links[name].address };
    }),
  );
}

/** The driver's own time-outs, short like everything else here. */
function uriOf({ address }: Link): string {
  return `mongodb://${address}/?directConnection=true&socketTimeoutMS=6000&serverSelectionTimeoutMS=3000&connectTimeoutMS=3000`;
}
