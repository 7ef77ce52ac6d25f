import type { Collection } from "mongodb";
import { RetryableError } from "../errors.ts";
import { isPassing, reach, type StoredDocument } from "./connection.ts";
import {
  bury,
  claimUpdate,
  notBefore,
  readClaimed,
  validUntil,
  type ClaimDeps,
} from "./mail-claims.ts";
import { readMail } from "./mail-document.ts";
import type { ClaimedMail, MailStore, SuspectClaim } from "./mails.ts";
import { notNewer } from "./record-version.ts";
import { aloneNote, unendedBeforeAlone, whyPoison } from "./poison.ts";

/** Served by an index of the suspects alone, so that asking costs nothing while there are none. */
const suspected = { unended: { $gte: unendedBeforeAlone } };

/** Two are enough for a dead letter. */
const maxNotes = 8;

function dueSuspects({ states, next }: SuspectClaim, now: Date) {
  return {
    ...suspected,
    ...notNewer,
    state: { $in: [...states] },
    dueAt: { $lte: now },
    ...(next === undefined ? {} : { next: { $in: [...next] } }),
  };
}

export function suspectWaits({ mails, clock }: ClaimDeps, claim: SuspectClaim): Promise<boolean> {
  return reach(async () => {
    const due = dueSuspects(claim, clock.now());
    const found = await mails.find(due, { projection: { _id: 1 }, limit: 1 }).toArray();
    return found.length > 0;
  });
}

/**
 * As `claimMails`, for one mail; the note that it is alone comes with the lease, in one write.
 * Undefined: there is surely no note. An error leaves that open.
 */
export function claimSuspect(
  deps: ClaimDeps,
  claim: Parameters<MailStore["claimSuspect"]>[0],
): Promise<ClaimedMail | undefined> {
  const { mails, clock } = deps;
  const { owner, leaseMs, token } = claim;
  return reach(async () => {
    const now = clock.now();
    const due = { ...dueSuspects(claim, now), _id: { $nin: [...claim.without] } };
    const options = { projection: { _id: 1 }, limit: 1, sort: { dueAt: 1 as const } };
    const [found] = await mails.find(due, options).toArray();
    if (found === undefined) return undefined;
    const sentMs = clock.monotonicMs();
    const until = new Date(clock.now().getTime() + leaseMs);
    const filter = { ...due, _id: found._id, "lease.until": notBefore(clock, now) };
    const update = {
      ...claimUpdate({ owner, token, until }),
      $push: { alone: { $each: [aloneNote(token, owner)], $slice: -maxNotes } },
    };
    const matched = await mails.updateOne(filter, update as never).then(
      ({ matchedCount }) => matchedCount,
      (error: unknown) => buryUnclaimable(deps, filter, error),
    );
    // What the driver's first try has leased does not match its second any more.
    const isOurs = matched > 0 || (await isLeased(mails, found._id, token));
    if (!isOurs) return undefined;
    const document = await readSuspect(mails, found._id, token);
    const [mail] = await readClaimed(deps, [document], token, validUntil(clock, sentMs, leaseMs));
    return mail;
  });
}

async function isLeased(mails: ClaimDeps["mails"], id: string, token: string): Promise<boolean> {
  const options = { projection: { _id: 1 } };
  return (await mails.findOne({ _id: id, "lease.token": token }, options)) !== null;
}

/**
 * What mail brought along may be what kills, as soon as it is read. So it is left out first, and for good
 * if the notes say that the mail must not be begun again.
 */
async function readSuspect(
  mails: ClaimDeps["mails"],
  id: string,
  token: string,
): Promise<StoredDocument> {
  const claimed = { _id: id, "lease.token": token };
  const bare = await mails.findOne(claimed, { projection: { "enriched.headerBlock": 0 } });
  const read = bare === null ? undefined : readMail(bare);
  const isPoison =
    read !== undefined && "mail" in read && whyPoison(read.mail, token) !== undefined;
  const document = isPoison ? bare : await mails.findOne(claimed);
  if (document !== null) return document;
  // The note of this claim may be there, read from a primary that was deposed: it must be taken back.
  throw new RetryableError("STORE_WRITE_UNCERTAIN", `the claim of ${id} is not seen`);
}

/** What is not a record may have counts and notes to which nothing can be added. */
async function buryUnclaimable(
  deps: ClaimDeps,
  filter: Parameters<ClaimDeps["mails"]["find"]>[0],
  error: unknown,
): Promise<0> {
  if (isPassing(error)) throw error;
  const [document] = await deps.mails.find({ ...filter }).toArray();
  const read = document === undefined ? undefined : readMail(document);
  if (document === undefined || read === undefined || "mail" in read) throw error;
  await bury(deps, document, read.reason, { ...filter });
  return 0;
}

/** By the note, which is in at most one mail, no matter who has that mail by now. */
export function livedThrough(
  mails: Collection<StoredDocument>,
  { token, owner }: { token: string; owner: string },
): Promise<void> {
  const note = aloneNote(token, owner);
  return reach(async () => {
    await mails.updateOne({ ...suspected, alone: note }, { $pull: { alone: note } } as never);
  });
}
