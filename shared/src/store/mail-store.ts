import type { Db } from "mongodb";
import type { DatabaseClock } from "./database-clock.ts";
import type { Logger } from "../logger.ts";
import type { RecordVersion } from "../mail/record.ts";
import { watchMails } from "./change-stream.ts";
import { collectionOf } from "./connection.ts";
import { claimMails } from "./mail-claims.ts";
import { claimSuspect, livedThrough, suspectWaits } from "./suspect-claims.ts";
import * as queries from "./mail-queries.ts";
import { createInserts, createWrites, renewLeases, writeAsPerson } from "./mail-writes.ts";
import type { MailStore } from "./mails.ts";
import type { PlanStore } from "./plans.ts";
import { NewerRecords } from "./record-version.ts";

/** The store of mails on a database; `lingerMs` is how long a write waits for company. */
export function createMailStore(deps: {
  db: Db;
  clock: DatabaseClock;
  log: Logger;
  lingerMs: number;
  plans: PlanStore;
  /** The newest form of records that every service reads. */
  version: () => RecordVersion;
}): MailStore {
  const { db, log, clock } = deps;
  const mails = collectionOf(db, "mails");
  const writing = { ...deps, mails };
  const newer = new NewerRecords(log, () => clock.monotonicMs());
  const claiming = { ...writing, newer };
  let staleWrites = 0;
  const insert = createInserts(writing);
  const write = createWrites(writing, () => {
    staleWrites += 1;
  });
  return {
    insert,
    write,
    get: (id) => queries.getMail(writing, id),
    claim: (claim) => claimMails(claiming, claim),
    dueFor: (asked) => queries.dueFor(mails, asked, clock.now()),
    suspectWaits: (claim) => suspectWaits(claiming, claim),
    claimSuspect: (claim) => claimSuspect(claiming, claim),
    livedThrough: (claim) => livedThrough(mails, claim),
    renew: (held, leaseMs) => renewLeases(writing, held, leaseMs),
    writeAs: (mailId, guard, change) => writeAsPerson(writing, mailId, guard, change),
    routesWaiting: (state) => queries.routesWaiting(mails, state),
    waiting: () => queries.waiting(mails),
    backlog: (limit) => queries.backlog(mails, limit, clock.now()),
    isBehind: (than) => queries.isBehind(mails, than, clock.now()),
    due: (limit, own) => queries.dueMails(mails, limit, clock.now(), own),
    find: (query) => queries.findMails(writing, query),
    children: (parentId) => queries.childrenOf(writing, parentId),
    countStates: () => queries.countStates(mails),
    countOutcomes: () => queries.countOutcomes(mails),
    watch: (options) => watchMails(mails, options, { log, clock }),
    get staleWrites() {
      return staleWrites;
    },
    get newerRecords() {
      return newer.count;
    },
  };
}
