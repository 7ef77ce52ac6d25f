import type { Database } from "@rs-agent/shared/store/database.ts";
import type { MailChange } from "@rs-agent/shared/life/change.ts";
import type { BodyRef } from "@rs-agent/shared/mail/record.ts";
import { lastOf } from "@rs-agent/shared/life/events.ts";
import { mailOf } from "./invariants/records.ts";
import { watchedSources } from "./records.ts";
import type { VirtualProcess } from "./virtual-time.ts";
import type { World } from "./world.ts";

type Mails = Database["mails"];

/** The database as a service gets it: the invariants watch it, and a planted bug may sit in it. */
export function watchedDatabase(
  world: World,
  process: VirtualProcess,
  database: Database,
): Database {
  const { leases } = world.invariants;
  const given = world.bug?.database?.(database, process, world) ?? database;
  const { mails } = given;
  const watched: Partial<Mails> = {
    async claim(wanted) {
      const claimed = await mails.claim(wanted);
      for (const { holding, validUntilMs } of claimed)
        leases.onClaimed(process, holding, validUntilMs);
      return claimed;
    },
    async claimSuspect(wanted) {
      const claimed = await mails.claimSuspect(wanted);
      if (claimed === undefined) return undefined;
      leases.onClaimed(process, claimed.holding, claimed.validUntilMs);
      return claimed;
    },
    async renew(held, leaseMs) {
      const renewed = await mails.renew(held, leaseMs);
      const kept = held.filter(({ mailId }) => !renewed.stale.includes(mailId));
      leases.onRenewed(process, kept, renewed.validUntilMs);
      return renewed;
    },
    async write(holding, change) {
      const doc = world.set.local("mails").get(holding.mailId);
      const body = doc && mailOf(doc).body;
      if (isOutcome(change)) await beKilledBy(world, process, "written", body);
      if (change.releaseLease === true) leases.onReleasing(holding);
      return mails.write(holding, change);
    },
  };
  const { bodies } = given;
  const read: Partial<Database["bodies"]> = {
    async get(ref) {
      await beKilledBy(world, process, "read", ref);
      return bodies.get(ref);
    },
  };
  return {
    ...given,
    sources: watchedSources(world, process, given.sources),
    mails: Object.assign(Object.create(mails) as Mails, watched),
    bodies: Object.assign(Object.create(bodies) as Database["bodies"], read),
  };
}

/**
 * Whether the write records what came of the mail: at the end or, with the mark of the relay's next
 * transaction, for some recipients. Giving it up is not work on it.
 */
function isOutcome({ releaseLease, untried, set, history = [] }: MailChange): boolean {
  const isBuried = lastOf(history, "dead")?.cause === "services-ended";
  const isForSome = set?.unknown !== undefined && set.recipients !== undefined;
  return (releaseLease === true || isForSome) && untried !== true && !isBuried;
}

/** Never settles if the mail is poison to this process. */
function beKilledBy(
  world: World,
  process: VirtualProcess,
  when: "read" | "written",
  body: BodyRef | undefined,
): Promise<void> {
  const poison = world.truthOf(body?.sha256 ?? "")?.poison;
  if (poison?.kind !== process.sort || poison.how !== when) return Promise.resolve();
  world.kill(process, `killed by the mail that it has ${when}`);
  return new Promise(() => undefined);
}
