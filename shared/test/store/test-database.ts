import { randomBytes } from "node:crypto";
import { MongoClient, type Db } from "mongodb";
import { afterAll, beforeAll } from "vitest";
import { systemClock } from "../../src/clock.ts";
import { newMailId } from "../../src/ids.ts";
import { createSilentLogger } from "../../src/logger.ts";
import type { BodyRef, MailRecord } from "../../src/mail/record.ts";
import { openDatabase, type Database } from "../../src/store/database.ts";
import { mongodbUri } from "../../../test/support/test-mongodb.ts";

/** A database of this test file's own, opened as services open it, and a driver beside it. */
export interface TestDatabase {
  store: Database;
  /** The same database by the bare driver. */
  db: Db;
  client: MongoClient;
  name: string;
  uri: string;
}

/** Opens a database before the file's tests and drops it after them. */
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

const someBody: BodyRef = { id: "none", form: "document", size: 0, sha256: "0".repeat(64) };

/** A new mail as ingest makes it; fields that matter to a test are given. */
export function newMail(given: Partial<MailRecord> = {}): MailRecord {
  const rcptTo = given.smtp?.rcptTo ?? ["bob@example.net"];
  const now = new Date(Date.now() - 1_000);
  return {
    _id: newMailId(),
    v: 1,
    state: "incoming",
    next: "plan",
    dueAt: now,
    origin: { via: "smtp", name: "test" },
    smtp: {
      mailFrom: "alice@example.org",
      rcptTo,
      client: { address: "192.0.2.1", name: "mx.example.org", helo: "mx.example.org" },
    },
    recipients: rcptTo.map((address) => ({ address, outcome: "open", attempts: 0 })),
    receivedAt: now,
    body: someBody,
    header: { messageId: "<1@example.org>", from: "Alice <alice@example.org>" },
    verdicts: {},
    history: [],
    ...given,
  };
}
