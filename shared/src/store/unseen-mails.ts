import type { Document } from "mongodb";
import { held } from "../life/endings.ts";
import { mailStates, workedStates } from "../life/states.ts";
import { unchanged, type StoredDocument } from "./connection.ts";
import { freshMark } from "./holding.ts";
import { bury, type BuryDeps } from "./mail-claims.ts";
import { notNewer } from "./record-version.ts";
import { readMail } from "./mail-document.ts";
import { updateOf } from "./mail-change.ts";

type UnseenDeps = BuryDeps;

const batch = 200;

/**
 * Records that no claim can ever find, since the fields that claims ask for are missing or of another
 * type: somebody wrote them by hand. What is not a record at all becomes a dead letter; what is one is
 * held for a person. Without this they would wait unseen forever.
 */
export async function mendUnseen(deps: UnseenDeps): Promise<number> {
  const { mails, clock, log } = deps;
  let mended = 0;
  for (const filter of unseenFilters) {
    const found = await mails.find(filter, { limit: batch }).toArray();
    for (const document of found) {
      const guard = guardOf(document);
      const read = readMail(document);
      if ("reason" in read) {
        await bury(deps, document, read.reason, guard);
      } else {
        const reason = "no service could see it: its next step or its time was missing";
        const change = held(read.mail, { cause: "unseen", reason, now: clock.now() });
        await mails.updateOne({ _id: document._id, ...guard }, updateOf(change, freshMark()));
        log.error({ mailId: document._id, reason }, "mail held");
      }
      mended += 1;
    }
  }
  return mended;
}

/** Each is served by the claims index. */
export const unseenFilters: readonly Document[] = [
  { state: { $nin: [...mailStates] }, ...notNewer },
  { state: { $in: [...workedStates] }, dueAt: { $not: { $type: "date" } }, ...notNewer },
  { state: { $in: [...workedStates] }, next: { $not: { $type: "string" } }, ...notNewer },
];

/** Nobody has written the record since it was read. */
function guardOf({ rev, wrote }: StoredDocument): Record<string, unknown> {
  return { rev: unchanged(rev), wrote: unchanged(wrote) };
}
