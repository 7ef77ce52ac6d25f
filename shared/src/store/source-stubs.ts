import type { Collection } from "mongodb";
import { newToken } from "../ids.ts";
import { isGone, recordBack, stubMade } from "../life/adoption.ts";
import type { MailRecord } from "../mail/record.ts";
import { isStub } from "../mail/stub.ts";
import { formerMailIdOf, letterOf, type AdoptionDeps } from "./adoption.ts";
import type { StoredDocument } from "./connection.ts";
import { bytesOf } from "./foreign-bson.ts";
import { freshMark, Holding } from "./holding.ts";
import { insertAll, type Mark } from "./inserts.ts";
import { validUntil } from "./mail-claims.ts";
import { updateOf } from "./mail-change.ts";
import type { Claim, ClaimedMail } from "./mails.ts";
import type { SourceConfig } from "./source-config.ts";
import { isTooLong, maxIdBytes, type SourceRecords, type Waiting } from "./source-records.ts";

/** What a dispatcher has taken on of a source. */
export interface Taken {
  /** Held as claimed mail is; their records are to be read. */
  stubs: ClaimedMail[];
  /** Records that nobody must read: they are dead letters. */
  dead: number;
  /** The limit ended it before the last record: there may be more. */
  more: boolean;
}

/** One source, as those who take on its records see it. */
export interface Door {
  deps: AdoptionDeps;
  source: SourceConfig;
  records: SourceRecords;
  mails: Collection<StoredDocument>;
}

type By = Pick<Claim, "limit" | "owner" | "leaseMs">;

const longId = `its _id has more than ${maxIdBytes} bytes`;
/** Two who take on one record have different leases. */
const ownLease: Mark = {
  projection: { "lease.token": 1 },
  of: ({ lease }) => (lease as { token?: unknown } | undefined)?.token,
};

/**
 * Makes stubs of records that are not mails yet, page by page, with a lease of our own: an insert is
 * the claim. Of a record that two take on at once one has the stub. What is taken is ours whatever becomes
 * of the one who took it: its lease ends, and any dispatcher claims it.
 */
export async function takeRecords(door: Door, by: By): Promise<Taken> {
  const { records } = door;
  const taken: Taken = { stubs: [], dead: 0, more: false };
  let after = await records.start();
  for (;;) {
    const page = await records.page(after);
    const last = page.at(-1);
    if (last === undefined) return taken;
    const fresh = await notMailsYet(door, page);
    const part = fresh.slice(0, by.limit - taken.stubs.length - taken.dead);
    for (const { id, mailId } of part) {
      if (!isTooLong(id)) continue;
      await buryUnread(door, id, mailId);
      taken.dead += 1;
    }
    const readable = part.filter(({ id }) => !isTooLong(id));
    taken.stubs.push(...(await insertStubs(door, readable, by)));
    if (part.length < fresh.length) return { ...taken, more: true };
    await records.passed(last.id);
    after = last.id;
  }
}

/** Of the others some may lack their mark: a crash can come between mail and mark. */
async function notMailsYet(door: Door, page: readonly Waiting[]): Promise<Waiting[]> {
  const { mails, source } = door;
  const former = new Map(page.map((record) => [record, formerMailIdOf(source, record.id)]));
  const ids = page.flatMap((record) => [record.mailId, former.get(record)?.mailId ?? []].flat());
  const projection = { state: 1, next: 1, reason: 1 };
  const there = await mails.find({ _id: { $in: ids } }, { projection }).toArray();
  const known = new Map(there.map((mail) => [mail._id, mail]));
  const fresh: Waiting[] = [];
  for (const record of page) {
    const before = former.get(record);
    const mail = known.get(record.mailId) ?? (before && known.get(before.mailId));
    if (mail === undefined || (mail._id !== record.mailId && (await hasTwin(door, before)))) {
      fresh.push(record);
    } else await onKnown(door, record, mail as unknown as MailRecord);
  }
  return fresh;
}

/** A record that is a mail already lacks its mark; one that was gone is back, and any dispatcher claims it. */
async function onKnown({ mails, records, deps }: Door, { id }: Waiting, mail: MailRecord) {
  if (isStub(mail)) return;
  if (!isGone(mail)) return records.mark(id, mail);
  const { _id, state, reason } = mail;
  const update = updateOf(recordBack(mail, { now: deps.clock.now() }), freshMark());
  await mails.updateOne({ _id, state, reason }, update);
}

/**
 * Versions before gave two records one id whose `_id`s read alike (an ObjectId and the string of its
 * digits). Where both are there, the mail of that id may be the other's.
 */
async function hasTwin(
  { records }: Door,
  former: ReturnType<typeof formerMailIdOf>,
): Promise<boolean> {
  return former?.twin !== undefined && (await records.has(former.twin));
}

async function insertStubs(
  { deps, source, mails }: Door,
  part: readonly Waiting[],
  { owner, leaseMs }: By,
): Promise<ClaimedMail[]> {
  if (part.length === 0) return [];
  const { clock } = deps;
  const sentMs = clock.monotonicMs();
  const now = clock.now();
  const lease = { owner, token: newToken(), until: new Date(now.getTime() + leaseMs) };
  const stubs = part.map(({ id, mailId }) => {
    const origin = { via: "source", name: source.name, record: bytesOf(id) } as const;
    return { ...stubMade({ _id: mailId, origin }, { now, lease }), v: deps.version() };
  });
  const settled = await insertAll(mails, stubs as StoredDocument[], ownLease);
  const validUntilMs = validUntil(clock, sentMs, leaseMs);
  const held = stubs.flatMap((mail, at) => {
    const outcome = settled[at];
    const isOurs = outcome !== undefined && "value" in outcome && outcome.value === "inserted";
    const holding = new Holding(mail, lease.token);
    return isOurs ? [{ mail, holding, validUntilMs }] : [];
  });
  const failure = settled.find((outcome) => "error" in outcome);
  // What an error has left to us is ours all the same: else it would wait for the lease's end.
  if (failure !== undefined && held.length === 0) throw failure.error;
  return held;
}

/** Its id fits into no stub. */
async function buryUnread({ deps, source, records }: Door, id: unknown, mailId: string) {
  const origin = { via: "source", name: source.name } as const;
  const letter = await letterOf(deps, { _id: mailId, origin }, { _id: id }, longId);
  await deps.mails.insert(letter);
  await records.mark(id, letter);
}
