import type { Collection, Db, Document } from "mongodb";
import { RetryableError } from "../errors.ts";
import { newToken } from "../ids.ts";
import { mailIdOf } from "./adoption.ts";
import { collectionOf, reach, type StoredDocument } from "./connection.ts";
import type { DatabaseClock } from "./database-clock.ts";
import { asWritten, sendable } from "./foreign-bson.ts";
import { upserting } from "./inserts.ts";
import { notBefore } from "./mail-claims.ts";
import { deathsAlone, unendedBeforeAlone } from "./poison.ts";
import type { SourceConfig } from "./source-config.ts";

/** Milliseconds. */
export const noteTiming = {
  /** How long an adopter that has lived through an outage has to say so. */
  grace: 5_000,
  retry: 2_000,
} as const;

/** What one adopter has in hand. */
export interface AdoptionNote {
  source: string;
  owner: string;
  /** The `_id`s of the records. */
  ids: unknown[];
  /** The only one, and nothing else was begun beside it. */
  alone: boolean;
  /** The lease's end, by the database's clock. */
  until: Date;
}

/** A record that adopters have ended with. */
export interface Unended {
  id: unknown;
  mailId: string;
  /** This many of them. */
  ended: number;
  /** The owners of those that had nothing else in hand. */
  alone: string[];
}

/** How the records of a source stand, by the ids of the mails that they become. */
export interface Standing {
  /** In the hands of an adopter that lives, as far as one knows. */
  busy: ReadonlySet<string>;
  unended: ReadonlyMap<string, Unended>;
}

/** An adopter's note, kept alive from the first `set` to `end`. */
export interface OwnNote {
  /** Notes these instead of those before. @throws RetryableError: nothing may be begun */
  set(ids: unknown[]): Promise<void>;
  /** Takes the note back, later if the database is away. */
  end(): Promise<void>;
}

/**
 * Records that kill the process which adopts them, as poison.ts has it for mail. Nobody sees such a
 * death; what is left of it is a note without an end.
 * 1. An adopter notes the records that it is about to read, before it reads more of them than their
 *    `_id`s. It takes that back in any case, late if necessary, when it is done with them.
 * 2. While a note's lease runs others leave these records alone; after it the adopter has ended, which
 *    counts against each of them. Three, and a record is a suspect: it is adopted alone (alone-lane.ts).
 * 3. Two ends alone, and it becomes a dead letter that nobody reads for it. Whatever ends properly is
 *    forgotten in all notes of the ended.
 */
export interface AdoptionNotes {
  open(source: SourceConfig, by: { owner: string; leaseMs: number; alone: boolean }): OwnNote;
  standing(source: SourceConfig): Promise<Standing>;
  /** Nothing is held against these records any more. */
  forget(source: SourceConfig, ids: unknown[]): Promise<void>;
  /** Takes back what `end` could not. @throws RetryableError STORE_UNREACHABLE */
  takeBack(): Promise<void>;
}

export function createAdoptionNotes(db: Db, clock: DatabaseClock): AdoptionNotes {
  const notes = collectionOf(db, "adoptions");
  const owed = new Set<string>();
  const takeBack = async () => {
    for (const token of owed) {
      await reach(() => notes.deleteOne({ _id: token }));
      owed.delete(token);
    }
  };
  return {
    open: (source, { owner, leaseMs, alone }) => {
      const token = newToken();
      const leaseEnd = () => new Date(clock.now().getTime() + leaseMs);
      // From before it is sent: the answer may be lost.
      let isSent = false;
      let renewal: NodeJS.Timeout | undefined;
      return {
        async set(ids) {
          isSent = true;
          const note: AdoptionNote = {
            source: source.name,
            owner,
            ids: ids.map(sendable),
            alone,
            until: leaseEnd(),
          };
          await reach(() =>
            upserting(() => notes.updateOne({ _id: token }, { $set: note }, { upsert: true })),
          );
          renewal ??= setInterval(() => {
            // What is not renewed only looks ended for a while.
            const later = { $set: { until: leaseEnd() } };
            notes.updateOne({ _id: token }, later).catch(() => undefined);
          }, leaseMs / 4);
        },
        async end() {
          clearInterval(renewal);
          if (isSent) owed.add(token);
          await takeBack().catch((error: unknown) => {
            if (!(error instanceof RetryableError)) throw error;
          });
        },
      };
    },
    standing: (source) =>
      reach(async () => {
        const found = await notes.find({ source: source.name }, asWritten).toArray();
        const { $gt: surelyOver } = notBefore(clock, clock.now()).$not;
        return standingOf(found, source, surelyOver);
      }),
    forget: (source, ids) => reach(() => forget(notes, source, ids)),
    takeBack,
  };
}

type Unread<Read> = { [Field in keyof Read]?: unknown };

/** As pure rules; notes that nobody of us can have written count for nothing. */
export function standingOf(
  notes: readonly Document[],
  source: SourceConfig,
  surelyOver: Date,
): Standing {
  const busy = new Set<string>();
  const unended = new Map<string, Unended>();
  for (const { ids, until, owner, alone } of notes as Unread<AdoptionNote>[]) {
    if (!Array.isArray(ids) || !(until instanceof Date) || typeof owner !== "string") continue;
    for (const id of ids as unknown[]) {
      const mailId = mailIdOf(source, id);
      if (until > surelyOver) {
        busy.add(mailId);
        continue;
      }
      const known = unended.get(mailId) ?? { id, mailId, ended: 0, alone: [] };
      known.ended += 1;
      if (alone === true) known.alone.push(owner.slice(0, 128));
      unended.set(mailId, known);
    }
  }
  return { busy, unended };
}

export function isSuspect(record: Unended | undefined): record is Unended {
  return record !== undefined && record.ended >= unendedBeforeAlone;
}

/** Suspects that nobody has in hand, those first that fewest have ended over. */
export function suspectsOf({ busy, unended }: Standing): Unended[] {
  return [...unended.values()]
    .filter((record) => isSuspect(record) && !busy.has(record.mailId))
    .sort((one, other) => one.alone.length - other.alone.length);
}

/** Why this record must not be read again; undefined: it may. */
export function whyPoison({ ended, alone }: Unended): string | undefined {
  if (alone.length < deathsAlone) return undefined;
  const before = String(ended - alone.length);
  return `adopters ended over it: ${before} had it among others, then alone ${alone.join(", ")}`;
}

async function forget(
  notes: Collection<StoredDocument>,
  { name }: SourceConfig,
  ids: unknown[],
): Promise<void> {
  if (ids.length === 0) return;
  // Also in notes of the living, who have the same record in hand by chance.
  await notes.updateMany({ source: name }, { $pull: { ids: { $in: ids.map(sendable) } } } as never);
  await notes.deleteMany({ source: name, ids: { $size: 0 } });
}
