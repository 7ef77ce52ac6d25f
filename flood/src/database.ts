import { systemClock } from "@rs-agent/shared/clock.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { collectionOf, createClient, durable, reach } from "@rs-agent/shared/store/connection.ts";
import { openDatabase, type Database } from "@rs-agent/shared/store/database.ts";
import { fromKey, mailIn, plansOf } from "@rs-agent/shared/store/mail-document.ts";
import { createPlanStore } from "@rs-agent/shared/store/plans.ts";
import { numberOfSender, senderOf } from "./mails/numbering.ts";

export interface DatabaseAddress {
  uri: string;
  db: string;
}

/** The fields of a mail's record that a flood looks at. */
export type SeenRecord = Pick<
  MailRecord,
  "_id" | "state" | "smtp" | "recipients" | "plan" | "timings"
>;

/** How to find the mails of a run: each has its own SMTP sender. */
export interface RunSenders {
  run: string;
  fromDomain: string;
}

export interface FloodDatabase {
  readonly database: Database;
  /**
   * The records of these mails, by number; for a split mail its parts, not the mail itself.
   * @throws RetryableError STORE_UNREACHABLE
   */
  records(senders: RunSenders, numbers: readonly number[]): Promise<Map<number, SeenRecord[]>>;
  close(): Promise<void>;
}

/** The system's database, in which to put mail and to see from outside what became of it. */
export async function openFloodDatabase({ uri, db }: DatabaseAddress): Promise<FloodDatabase> {
  const log = createSilentLogger();
  const database = await openDatabase({ uri, db, clock: systemClock, log });
  const client = createClient(uri);
  const opened = client.db(db, durable);
  const mails = collectionOf(opened, "mails");
  const plans = createPlanStore(opened, systemClock, log);
  return {
    database,
    async records({ run, fromDomain }, numbers) {
      const keys = numbers.map((number) => fromKey(senderOf(run, number, fromDomain)));
      const found = await reach(() => mails.find({ lookup: { $in: keys } }).toArray());
      const planOf = await plansOf(found, plans);
      const byNumber = new Map<number, SeenRecord[]>();
      for (const document of found) {
        const record = mailIn(document, planOf);
        const number = numberOfSender(record.smtp.mailFrom, run);
        if (number === undefined || record.state === "split") continue;
        byNumber.set(number, [...(byNumber.get(number) ?? []), record]);
      }
      return byNumber;
    },
    async close() {
      await client.close();
      await database.close();
    },
  };
}

const atOnce = 500;

/** Looks at all of them, some hundred at a time. */
export async function eachRecord(
  { records }: Pick<FloodDatabase, "records">,
  senders: RunSenders,
  numbers: readonly number[],
  look: (number: number, records: SeenRecord[]) => void,
): Promise<void> {
  for (let from = 0; from < numbers.length; from += atOnce) {
    const some = numbers.slice(from, from + atOnce);
    const found = await records(senders, some);
    for (const number of some) look(number, found.get(number) ?? []);
  }
}

/** The domains that belong to somebody: mail for them is accepted from everyone. */
export async function ownDomains({ policies }: Pick<Database, "policies">): Promise<string[]> {
  const documents = await policies.all();
  return documents.flatMap((document) =>
    document.scope === "tenant" ? (document.domains ?? []) : [],
  );
}
