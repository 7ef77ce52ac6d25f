import { MongoServerError, type Db, type Document, type MongoClient } from "mongodb";
import type { Clock } from "../clock.ts";
import { TerminalError } from "../errors.ts";
import type { Logger } from "../logger.ts";
import { createActorStore, type ActorStore } from "./actors.ts";
import { createArrivalStore, type ArrivalStore } from "./arrivals.ts";
import { createBodyStore, type BodyStore } from "./bodies.ts";
import { createClient, durable, hostsOf, reach } from "./connection.ts";
import { createControlStore, type ControlStore } from "./controls.ts";
import { openDatabaseClock, type DatabaseClock } from "./database-clock.ts";
import { createIndexes } from "./indexes.ts";
import { createMailStore } from "./mail-store.ts";
import type { MailStore } from "./mails.ts";
import { createPlanStore } from "./plans.ts";
import { createPolicyStore, type PolicyStore } from "./policies.ts";
import { createAgreement, type Agreement } from "./record-version.ts";
import { createRetention, type Retention } from "./retention.ts";
import { createSourceStore, type SourceStore } from "./sources.ts";
import { checkTlsFiles } from "./tls-files.ts";
import { createTurnStore, type TurnStore } from "./turns.ts";

/** The database with everything that we keep in it. The caller closes it. */
export interface Database extends AsyncDisposable {
  readonly mails: MailStore;
  readonly agreement: Agreement;
  readonly bodies: BodyStore;
  readonly arrivals: ArrivalStore;
  readonly policies: PolicyStore;
  readonly sources: SourceStore;
  readonly actors: ActorStore;
  readonly controls: ControlStore;
  readonly turns: TurnStore;
  readonly retention: Retention;
  /** The database's time. */
  readonly clock: DatabaseClock;
  /** Which server, version, replica set and hosts, without credentials. */
  readonly server: string;
  /** Commands sent since the start. */
  readonly commands: number;
  /** The disk that it writes to; undefined: the server does not tell. */
  disk(): Promise<Disk | undefined>;
  /** One round trip. @throws RetryableError STORE_UNREACHABLE */
  ping(): Promise<void>;
  close(): Promise<void>;
}

export interface Disk {
  freeBytes: number;
  totalBytes: number;
}

export interface DatabaseOptions {
  /** A MongoDB connection string; what it says about write concern and read preference does not count. */
  uri: string;
  /** The database's name. */
  db: string;
  clock: Clock;
  log: Logger;
  /** How long a write waits for company, in milliseconds. */
  lingerMs?: number;
}

const defaultLingerMs = 2;

/**
 * Connects, measures the database's clock and creates the indexes that are missing.
 * @throws RetryableError STORE_UNREACHABLE; TerminalError CFG_INVALID if the URI is none, the
 *   server refuses us or the database's name, or it is not a replica set, without which there are
 *   neither majorities nor change streams
 */
export async function openDatabase(options: DatabaseOptions): Promise<Database> {
  const { uri, log, lingerMs = defaultLingerMs } = options;
  const client = createClient(uri);
  try {
    await checkTlsFiles(uri);
    const server = await describeServer(client, uri);
    const admin = client.db("admin", durable);
    const { clock, close: closeClock } = await openDatabaseClock(admin, options.clock, log);
    await reach(() => createIndexes(client.db(options.db, durable)));
    const close = async () => {
      closeClock();
      await client.close();
    };
    let commands = 0;
    client.on("connectionCheckedOut", () => (commands += 1));
    const stores = createStores({ client, name: options.db, clock, log, lingerMs });
    await stores.agreement.refresh();
    return {
      get commands() {
        return commands;
      },
      ...stores,
      clock,
      server,
      disk: () => reach(() => diskUnder(client.db(options.db, durable))),
      ping: () =>
        reach(async () => {
          await admin.command({ ping: 1 });
        }),
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await client.close();
    if (!(error instanceof MongoServerError)) throw error;
    const text = `MongoDB at ${hostsOf(uri)} refuses (MONGODB_URI, MONGODB_DB): ${error.message}`;
    throw new TerminalError("CFG_INVALID", text, { cause: error });
  }
}

/** All stores on a database that is connected already. */
export function createStores(deps: {
  client: MongoClient;
  /** The database's name. */
  name: string;
  clock: DatabaseClock;
  log: Logger;
  lingerMs: number;
}) {
  const { client, clock, log, lingerMs } = deps;
  const db = client.db(deps.name, durable);
  const bodies = createBodyStore(db, clock, lingerMs);
  const actors = createActorStore(db, clock);
  const agreement = createAgreement(actors, clock);
  const plans = createPlanStore(db, clock, log);
  const version = () => agreement.version();
  const mails = createMailStore({ db, clock, log, lingerMs, plans, version });
  return {
    mails,
    agreement,
    bodies,
    arrivals: createArrivalStore({ ...deps, bodies, mails, plans, version }),
    policies: createPolicyStore(client, db),
    sources: createSourceStore({ client, db, clock, log, mails, bodies, version }),
    actors,
    controls: createControlStore(db, clock),
    turns: createTurnStore(db, clock),
    retention: createRetention({ db, clock, log, version }),
  };
}

/** By `dbStats`, which on a sharded cluster tells of shards, and on look-alikes of nothing. */
async function diskUnder(db: Db): Promise<Disk | undefined> {
  const { fsUsedSize: used, fsTotalSize: total }: Document = await db.command({ dbStats: 1 });
  // SecantusDB's Rust server says 0 of both: it does not know either.
  if (typeof used !== "number" || typeof total !== "number" || total === 0) return undefined;
  return { freeBytes: total - used, totalBytes: total };
}

async function describeServer(client: MongoClient, uri: string): Promise<string> {
  const admin = client.db("admin");
  const hello: Document = await reach(() => admin.command({ hello: 1 }));
  const info: Document = await reach(() => admin.command({ buildInfo: 1 }));
  const isSharded = hello.msg === "isdbgrid";
  if (!isSharded && typeof hello.setName !== "string")
    throw new TerminalError(
      "CFG_INVALID",
      `MongoDB at ${hostsOf(uri)} is not a replica set; start it with --replSet and rs.initiate()`,
    );
  const name =
    typeof info.secantusVersion === "string"
      ? `SecantusDB ${info.secantusVersion}`
      : `MongoDB ${String(info.version)}`;
  const set = isSharded ? "sharded" : `replica set ${String(hello.setName)}`;
  return `${name}, ${set} at ${hostsOf(uri)}`;
}
