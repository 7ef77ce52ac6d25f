import type { Collection, Db, Document, MongoClient } from "mongodb";
import { isSuspect, type AdoptionNotes, type OwnNote, type Standing } from "./adoption-notes.ts";
import {
  adoptRecord,
  buryUnread,
  formerMailIdOf,
  mailIdOf,
  type Adopted,
  type AdoptionDeps,
  type AdoptionRules,
} from "./adoption.ts";
import type { StoredDocument } from "./connection.ts";
import type { SourceConfig } from "./source-config.ts";
import { isTooLong, maxIdBytes, type SourceRecords, type Waiting } from "./source-records.ts";

/** What one pass over a source did. */
export interface AdoptionPass {
  /** Mails made from records. */
  adopted: number;
  /** Records that fit no form, or that adopters ended over: they became dead letters. */
  dead: number;
  /** True if something ended the pass before the last record: there may be more. */
  more: boolean;
}

/** How to adopt. */
export interface AdoptionOptions extends AdoptionRules {
  limit: number;
  /** The adopting actor's id. */
  owner: string;
  /** After this many milliseconds without a sign of it the adopter counts as ended. */
  leaseMs: number;
  /** Asked before each record; false ends the pass. */
  goOn: () => boolean;
}

export type SourceDeps = AdoptionDeps & { client: MongoClient; db: Db };

/** What the steps of an adoption share. */
export interface Adopter {
  deps: SourceDeps;
  source: SourceConfig;
  records: SourceRecords;
  notes: AdoptionNotes;
  mails: Collection<StoredDocument>;
}

/** Records are adopted this many at once; each holds its raw mail in memory. */
const atOnce = 4;
const longId = `its _id has more than ${maxIdBytes} bytes`;

/** Adopts what waits, page by page, suspects left out. */
export async function adoptWaiting(
  adopter: Adopter,
  options: AdoptionOptions,
): Promise<AdoptionPass> {
  const { source, records, notes } = adopter;
  await notes.takeBack();
  const note = notes.open(source, { ...options, alone: false });
  const pass = { adopted: 0, dead: 0, more: false };
  // Of a source without marks, what is left to others has to be found again.
  let isComplete = true;
  let after = await records.start();
  try {
    for (;;) {
      const [page, standing] = await Promise.all([records.page(after), notes.standing(source)]);
      const last = page.at(-1);
      if (last === undefined) return pass;
      const free = page.filter(({ mailId }) => isFree(standing, mailId));
      if (free.length < page.length) isComplete = false;
      const fresh = await notAdopted(adopter, free);
      const room = options.limit - pass.adopted - pass.dead;
      const part = fresh.slice(0, room);
      const adopted = await adoptPart(adopter, part, { note, standing, options });
      for (const { kind } of adopted) if (kind !== "pending") pass[kind] += 1;
      if (part.length < fresh.length || !options.goOn()) return { ...pass, more: true };
      if (isComplete) await records.passed(last.id);
      after = last.id;
    }
  } finally {
    await note.end();
  }
}

function isFree({ busy, unended }: Standing, mailId: string): boolean {
  return !busy.has(mailId) && !isSuspect(unended.get(mailId));
}

/** Those that are not mails yet. The others lack their mark: a crash can come between mail and mark. */
export async function notAdopted<Record extends Waiting>(
  adopter: Adopter,
  page: readonly Record[],
): Promise<Record[]> {
  const { mails, source, records } = adopter;
  const former = new Map(page.map((record) => [record, formerMailIdOf(source, record.id)]));
  const ids = page.flatMap((record) => [record.mailId, former.get(record)?.mailId ?? []].flat());
  const there = await mails
    .find({ _id: { $in: ids } }, { projection: { state: 1, reason: 1 } })
    .toArray();
  const known = new Map(there.map((mail) => [mail._id, mail]));
  const fresh: Record[] = [];
  for (const record of page) {
    const before = former.get(record);
    const mail = known.get(record.mailId) ?? (before && known.get(before.mailId));
    if (mail === undefined || (mail._id !== record.mailId && (await hasTwin(adopter, before)))) {
      fresh.push(record);
    } else if (source.mark) await records.mark(record.id, asAdopted(mail));
  }
  return fresh;
}

/**
 * Earlier versions gave one id to two records whose `_id`s read the same (an ObjectId and the string of its
 * digits). If both are there, the mail of that id may be the other's.
 */
async function hasTwin(
  { records }: Adopter,
  former: ReturnType<typeof formerMailIdOf>,
): Promise<boolean> {
  return former?.twin !== undefined && (await records.has(former.twin));
}

function asAdopted({ _id: mailId, state, reason }: StoredDocument): Adopted {
  const isDead = state === "dead" && typeof reason === "string";
  return isDead ? { kind: "dead", mailId, reason } : { kind: "adopted", mailId };
}

/** Notes what is about to be read, then reads and adopts it, or as much of it as it may. */
async function adoptPart(
  adopter: Adopter,
  part: readonly Waiting[],
  by: { note: OwnNote; standing: Standing; options: AdoptionOptions },
): Promise<Adopted[]> {
  const { source, records, notes } = adopter;
  const adopted: Adopted[] = [];
  for (const { id } of part.filter(({ id }) => isTooLong(id)))
    adopted.push(await buryAndMark(adopter, id, longId));
  const ids = part.map(({ id }) => id).filter((id) => !isTooLong(id));
  if (ids.length === 0) return adopted;
  await by.note.set(ids);
  const ended: unknown[] = [];
  await eachOf(records.read(ids), by.options.goOn, async (document) => {
    const one = await adoptAndMark(adopter, document, by.options);
    adopted.push(one);
    const id: unknown = document._id;
    if (by.standing.unended.has(mailIdOf(source, id))) ended.push(id);
  });
  await notes.forget(source, ended);
  return adopted;
}

/** Works on some at once. All that was begun has ended when it settles, with the first error if any. */
async function eachOf(
  documents: AsyncIterable<Document>,
  goOn: () => boolean,
  work: (document: Document) => Promise<void>,
): Promise<void> {
  const running = new Set<Promise<void>>();
  const failures: unknown[] = [];
  try {
    for await (const document of documents) {
      if (failures.length > 0 || !goOn()) break;
      const one = work(document)
        .catch((error: unknown) => failures.push(error))
        .then(() => void running.delete(one));
      running.add(one);
      if (running.size >= atOnce) await Promise.race(running);
    }
  } finally {
    await Promise.all(running);
  }
  if (failures.length > 0) throw failures[0];
}

export async function adoptAndMark(
  { deps, source, records }: Adopter,
  document: Document,
  options: Omit<AdoptionOptions, "limit">,
): Promise<Adopted> {
  const adopted = await adoptRecord(deps, source, document, options);
  await records.mark(document._id, adopted);
  return adopted;
}

export async function buryAndMark(
  { deps, source, records }: Adopter,
  id: unknown,
  why: string,
): Promise<Adopted> {
  const dead = await buryUnread(deps, source, id, why);
  await records.mark(id, dead);
  return dead;
}
