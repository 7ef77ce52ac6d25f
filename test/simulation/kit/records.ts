import { connectDriver } from "./database/driver.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { mailIdOf } from "@rs-agent/shared/store/adoption.ts";
import { createMails, tenantClient, type Truth } from "./mails.ts";
import { strangerClient } from "./senders.ts";
import type { Random } from "./random.ts";
import type { VirtualProcess } from "./virtual-time.ts";
import type { World } from "./world.ts";

/** Mail that somebody else puts into MongoDB. */

export const inbox = "inbox";
const databaseOf = "others";

/** The dispatchers' setting SOURCES. */
export function sourcesOf(marked: boolean): string {
  const which = { name: inbox, form: "native", mode: "deliver", db: databaseOf, collection: inbox };
  return JSON.stringify([{ ...which, mark: marked, networks: [`${tenantClient}/32`] }]);
}

/** A mail that comes in as a record. */
export interface RecordTruth extends Truth {
  /** Those recipients of the record to whom it must not be sent. */
  refused: string[];
  /** After this many milliseconds its writer takes it back, if it is not adopted yet. */
  takenBackMs: number | undefined;
}

export function createRecords(random: Random, count: number, withinMs: number): RecordTruth[] {
  return createMails(random, count, withinMs, "r").map((truth) => {
    const refused = !truth.outgoing && random.chance(0.2) ? ["ann@nowhere.example"] : [];
    const takenBackMs = random.chance(0.15) ? truth.atMs + random.between(0, 6_000) : undefined;
    return { ...truth, refused, takenBackMs };
  });
}

/** The id of the mail that the record becomes. */
export function mailIdOfRecord({ id }: Pick<Truth, "id">): string {
  return mailIdOf({ name: inbox }, id);
}

/** Puts records into the source, and takes some of them back. */
export function writeRecords(world: World, process: VirtualProcess, truths: RecordTruth[]): void {
  const client = connectDriver(world.driver, process);
  const records = client.db(databaseOf).collection<{ _id: string }>(inbox);
  const at = (atMs: number, act: () => Promise<unknown>) => {
    if (atMs < world.time.nowMs) return;
    world.time.at(atMs, process, () => void act().catch(() => undefined));
  };
  for (const truth of truths) {
    const { id, atMs, takenBackMs } = truth;
    at(atMs, () => {
      world.note(`puts record ${id} in`, mailIdOfRecord(truth));
      return records.insertMany([recordOf(truth)]);
    });
    if (takenBackMs === undefined) continue;
    at(takenBackMs, () => {
      world.note(`takes record ${id} back`, mailIdOfRecord(truth));
      return records.deleteOne({ _id: id, state: "incoming" });
    });
  }
}

function recordOf({ id, mailFrom, recipients, refused, outgoing, raw }: RecordTruth) {
  const client = { address: outgoing ? tenantClient : strangerClient, name: "", helo: "writer" };
  const smtp = { mailFrom, rcptTo: [...recipients, ...refused], client };
  return { _id: id, state: "incoming", smtp, body: raw };
}

/** What a dispatcher reads from records, watched as `watchedDatabase` does it for mail. */
export function watchedSources(
  world: World,
  process: VirtualProcess,
  sources: Database["sources"],
): Database["sources"] {
  return {
    ...sources,
    async take(source, by) {
      const taken = await sources.take(source, by);
      for (const { holding, validUntilMs } of taken.stubs)
        world.invariants.leases.onClaimed(process, holding, validUntilMs);
      return taken;
    },
    read(source, stub, rules) {
      const poison = world.records.find((truth) => mailIdOfRecord(truth) === stub._id)?.poison;
      if (poison?.kind !== "dispatcher" || poison.how !== "read")
        return sources.read(source, stub, rules);
      world.kill(process, "killed by the record that it has read");
      return new Promise(() => undefined);
    },
  };
}
