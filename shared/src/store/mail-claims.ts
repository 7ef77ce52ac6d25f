import { BSON, type Collection, type Document } from "mongodb";
import { adoptedMailId, newToken } from "../ids.ts";
import { buried } from "../life/dead-letter.ts";
import type { Logger } from "../logger.ts";
import { isNewer, mailSchema, type RecordVersion } from "../mail/record.ts";
import { isPassing, isWithoutServer, reach, type StoredDocument } from "./connection.ts";
import type { DatabaseClock } from "./database-clock.ts";
import { idText, sendable } from "./foreign-bson.ts";
import { upserting } from "./inserts.ts";
import { Holding } from "./holding.ts";
import { documentOf, readMail, readMails } from "./mail-document.ts";
import type { Claim, ClaimedMail } from "./mails.ts";
import type { PlanStore } from "./plans.ts";
import { unendedBeforeAlone } from "./poison.ts";
import { expanded } from "./record-form.ts";
import { notNewer, type NewerRecords } from "./record-version.ts";

export interface ClaimDeps {
  mails: Collection<StoredDocument>;
  clock: DatabaseClock;
  log: Logger;
  newer: NewerRecords;
  plans: PlanStore;
  /** In which form a new record is written. */
  version: () => RecordVersion;
}

export type BuryDeps = Pick<ClaimDeps, "mails" | "clock" | "log" | "version">;

/** This many more ids than wanted are looked at, so that claimers do not fight for one head. */
const spare = 3;
/** Suspects are claimed one by one, separately from the others. */
const claimable = { unended: { $not: { $gte: unendedBeforeAlone } }, ...notNewer };
/** A lease ends for us this part earlier than in the database: hosts' clocks do not run alike. */
const marginPart = 0.02;

/** A hint may be quicker than our idea of the database's time. A lease's end is asked of itself. */
const earlyMs = 1_000;

/**
 * Claims due mail in three round trips: ids by the index, one guarded update of a random part of them,
 * and what carries our token then. What is named needs no index. A live lease is never taken over
 * (I3): its end is in `dueAt` and, since that is written by more than claims, is asked of the lease itself too.
 */
export async function claimMails(deps: ClaimDeps, claim: Claim): Promise<ClaimedMail[]> {
  const { clock } = deps;
  if (claim.limit < 1) return [];
  return reach(async () => {
    const now = clock.now();
    const by = claim.only === undefined ? now : new Date(now.getTime() + earlyMs);
    const waiting = dueFilter(claim, by);
    const ids =
      claim.only ?? randomPart(await claimableIds(deps, waiting, claim.limit), claim.limit);
    if (ids.length === 0) return [];
    const sentMs = clock.monotonicMs();
    const until = new Date(clock.now().getTime() + claim.leaseMs);
    const lease = { owner: claim.owner, token: newToken(), until };
    const due = { ...waiting, ...claimable };
    const free = { ...due, "lease.until": notBefore(clock, now) };
    const [only, another] = ids;
    const documents =
      only !== undefined && another === undefined
        ? await leaseOne(deps, { ...free, _id: only }, lease)
        : await leaseAll(deps, ids, free, lease);
    return readClaimed(deps, documents, lease.token, validUntil(clock, sentMs, claim.leaseMs));
  });
}

interface NewLease {
  owner: string;
  token: string;
  until: Date;
}

async function leaseAll(
  deps: ClaimDeps,
  ids: readonly string[],
  free: Document,
  lease: NewLease,
): Promise<StoredDocument[]> {
  const { mails } = deps;
  const update = () => mails.updateMany({ ...free, _id: { $in: [...ids] } }, claimUpdate(lease));
  const failed = await update().then(
    ({ matchedCount }) => (matchedCount === 0 ? "none" : undefined),
    async (error: unknown) => {
      if (isPassing(error)) return uncertain(error);
      if ((await buryUncountable(deps, ids, free)) === 0) throw error;
      // What the first had leased before it ended carries our token too.
      await update();
      return undefined;
    },
  );
  if (failed === "none") return [];
  const documents = await leasedTo(lease, deps, ids);
  // What an error has left to us is ours all the same: else it would wait for the lease's end.
  if (failed !== undefined && documents.length === 0) throw failed.error;
  return documents;
}

/** In one round trip. The answer may be that of the driver's second try, which finds the mail leased. */
async function leaseOne(
  deps: ClaimDeps,
  free: Document & { _id: string },
  lease: NewLease,
): Promise<StoredDocument[]> {
  const { mails } = deps;
  const ids = [free._id];
  try {
    const options = { returnDocument: "after" } as const;
    const document = await mails.findOneAndUpdate(free, claimUpdate(lease), options);
    return document === null ? await leasedTo(lease, deps, ids) : [document];
  } catch (error) {
    if (!isPassing(error)) {
      if ((await buryUncountable(deps, ids, free)) === 0) throw error;
      return [];
    }
    uncertain(error);
    const documents = await leasedTo(lease, deps, ids);
    if (documents.length === 0) throw error;
    return documents;
  }
}

function leasedTo(
  { token }: NewLease,
  { mails }: ClaimDeps,
  ids: readonly string[],
): Promise<StoredDocument[]> {
  return mails.find({ _id: { $in: [...ids] }, "lease.token": token }).toArray();
}

/**
 * Ids of due mail, the oldest first. Suspects and newer records among them are left out here, not by
 * the database, which would have to look into each document; only if they take up all the room is
 * it asked to.
 */
async function claimableIds(
  { mails, newer }: ClaimDeps,
  waiting: ReturnType<typeof dueFilter>,
  wanted: number,
): Promise<string[]> {
  const limit = wanted * spare;
  const options = { projection: { unended: 1, v: 1 }, limit, sort: { dueAt: 1 as const } };
  const found = await mails.find(waiting, options).toArray();
  const known = found.filter((document) => {
    if (isNewer(document)) newer.meet(document);
    return !isNewer(document);
  });
  const fit = known.filter(({ unended }) => !(Number(unended) >= unendedBeforeAlone));
  if (fit.length >= wanted || found.length < limit) return fit.map(({ _id }) => _id);
  const others = await mails.find({ ...waiting, ...claimable }, options).toArray();
  return others.map(({ _id }) => _id);
}

/** An error that does not say whether the claim was made. */
function uncertain(error: unknown): { error: unknown } {
  if (isWithoutServer(error)) throw error;
  return { error };
}

/** A count of claims to which nothing can be added ends the update of all others with it. */
async function buryUncountable(
  deps: ClaimDeps,
  ids: readonly string[],
  guard: Record<string, unknown>,
): Promise<number> {
  const documents = await deps.mails.find({ ...guard, _id: { $in: [...ids] } }).toArray();
  const wrong = documents.flatMap((document) => {
    const read = readMail(document);
    return "reason" in read && !isCountable(document) ? [{ document, ...read }] : [];
  });
  for (const { document, reason } of wrong) await bury(deps, document, reason, guard);
  return wrong.length;
}

function isCountable({ claims, unended }: StoredDocument): boolean {
  const { shape } = mailSchema;
  return shape.claims.safeParse(claims).success && shape.unended.safeParse(unended).success;
}

/** What waits for this claimer and may be taken now; served by the claims index. */
export function dueFilter({ states, next }: Pick<Claim, "states" | "next">, now: Date) {
  const [only] = states;
  const state = states.length === 1 && only !== undefined ? only : { $in: [...states] };
  return { state, next, dueAt: { $lte: now } };
}

/** What a claim writes: the lease, and that one more was begun (poison.ts). */
export function claimUpdate(lease: { owner: string; token: string; until: Date }) {
  return { $set: { lease, dueAt: lease.until }, $inc: { claims: 1, unended: 1 } };
}

/** Monotonic milliseconds until which a lease asked for at `sentMs` is surely ours. */
export function validUntil(clock: DatabaseClock, sentMs: number, leaseMs: number): number {
  return sentMs + leaseMs * (1 - marginPart) - (clock.errorMs?.() ?? 0);
}

/** The end of a lease that is surely over, however wrong our idea of the database's time is. */
export function notBefore(clock: DatabaseClock, now: Date) {
  return { $not: { $gt: new Date(now.getTime() - (clock.errorMs?.() ?? 0)) } };
}

/** What is not a record becomes a dead letter on the way. */
export async function readClaimed(
  deps: ClaimDeps,
  documents: StoredDocument[],
  token: string,
  validUntilMs: number,
): Promise<ClaimedMail[]> {
  const claimed: ClaimedMail[] = [];
  for (const [place, read] of (await readMails(documents, deps.plans)).entries()) {
    if ("mail" in read) {
      const { mail } = read;
      claimed.push({ mail, holding: new Holding(mail, token), validUntilMs });
      continue;
    }
    const document = documents[place] as StoredDocument;
    await bury(deps, document, read.reason, { "lease.token": token });
  }
  return claimed;
}

/**
 * Makes a document that is not a record a dead letter, which keeps it under `malformed`, whole wherever
 * it fits. Its id stays, unless no record may have it: then the letter lies under an id derived from
 * it, and the document goes.
 */
export async function bury(
  { mails, clock, log, version }: BuryDeps,
  document: StoredDocument,
  reason: string,
  guard: Record<string, unknown>,
): Promise<void> {
  const original: unknown = document._id;
  const isId = typeof original === "string" && original.length >= 1 && original.length <= 64;
  const id = isId ? original : adoptedMailId("mails", idText(original));
  const letter = sendable({
    ...documentOf({ ...buried(expanded(document), id, reason, clock.now()), v: version() }),
    malformed: fitting(sendable(document)),
  });
  if (isId) {
    const { matchedCount } = await mails.replaceOne({ _id: id, ...guard }, letter);
    if (matchedCount === 0) return;
  } else {
    const { _id, ...fields } = letter;
    await upserting(() => mails.updateOne({ _id }, { $setOnInsert: fields }, { upsert: true }));
    await mails.deleteOne({ ...guard, _id: { $eq: sendable(document._id) } });
  }
  log.error({ mailId: id, reason }, "a record that cannot be read is a dead letter now");
}

/** Of MongoDB's 16 MB for a document; the rest is for the letter itself. */
const malformedBytes = 12 * 1024 * 1024;

/** The document, or its fields that fit beside the letter and the names of those that do not. */
function fitting(document: StoredDocument): Document {
  if (BSON.calculateObjectSize(document) <= malformedBytes) return document;
  const kept: Document = {};
  const leftOut: string[] = [];
  let left = malformedBytes;
  for (const [name, value] of Object.entries<unknown>(document)) {
    const bytes = BSON.calculateObjectSize({ [name]: value });
    if (bytes <= left) {
      kept[name] = value;
      left -= bytes;
    } else if (leftOut.length < 100) leftOut.push(name.slice(0, 100));
  }
  return { ...kept, leftOut };
}

/** Up to `count` of the ids, any of them with the same chance. */
function randomPart(ids: string[], count: number): string[] {
  if (ids.length <= count) return ids;
  for (let place = 0; place < count; place++) {
    const other = place + Math.floor(Math.random() * (ids.length - place));
    const id = ids[place] as string;
    ids[place] = ids[other] as string;
    ids[other] = id;
  }
  return ids.slice(0, count);
}
