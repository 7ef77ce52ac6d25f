import type { Database } from "@rs-agent/shared/store/database.ts";
import type { VirtualProcess } from "./virtual-time.ts";
import type { World } from "./world.ts";

type Mails = Database["mails"];

/** The database as a service gets it: the invariants look on, and a planted bug may sit in it. */
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
      for (const { mail, token, validUntilMs } of claimed) {
        leases.onClaimed(process, mail._id, token, validUntilMs);
      }
      return claimed;
    },
    async renew(held, leaseMs) {
      const renewed = await mails.renew(held, leaseMs);
      const kept = held.map(({ mailId }) => mailId).filter((id) => !renewed.stale.includes(id));
      leases.onRenewed(process, kept, renewed.validUntilMs);
      return renewed;
    },
    write(mailId, token, change) {
      if (change.releaseLease === true) leases.onReleasing(mailId, token);
      return mails.write(mailId, token, change);
    },
  };
  return { ...given, mails: Object.assign(Object.create(mails) as Mails, watched) };
}
