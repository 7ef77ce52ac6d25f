import { randomBytes } from "node:crypto";
import { MongoClient, type Db } from "mongodb";
import { afterAll, beforeAll } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { createSilentLogger } from "../../src/logger.ts";
import { openDatabase, type Database } from "../../src/store/database.ts";
import type { Holding } from "../../src/store/holding.ts";
import type { ClaimedMail } from "../../src/store/mails.ts";
import { mongodbUri } from "../../../test/support/test-mongodb.ts";

/** A database of this test file's own, opened as services open it, and a bare driver for it. */
export interface TestDatabase {
  store: Database;
  /** The same database through the bare driver. */
  db: Db;
  client: MongoClient;
  name: string;
  uri: string;
}

/** Opens a database before the file's tests and drops it afterwards. */
export function useDatabase(): () => TestDatabase {
  let opened: TestDatabase | undefined;
  beforeAll(async () => {
    const uri = mongodbUri();
    const name = `store_${randomBytes(6).toString("hex")}`;
    const client = new MongoClient(uri, { promoteBuffers: true, ignoreUndefined: true });
    const store = await openStore(uri, name);
    opened = { store, client, db: client.db(name), name, uri };
  });
  afterAll(async () => {
    await opened?.db.dropDatabase();
    await opened?.client.close();
    await opened?.store.close();
  });
  return () => {
    if (opened === undefined) throw new Error("the database is not open yet");
    return opened;
  };
}

export function openStore(uri: string, db: string): Promise<Database> {
  return openDatabase({ uri, db, clock: systemClock, log: createSilentLogger() });
}

/** The holding of a mail that must have been claimed. */
export function holdingOf(claimed: ClaimedMail | undefined): Holding {
  if (claimed === undefined) throw new Error("nothing was claimed");
  return claimed.holding;
}
