import { MongoBulkWriteError, MongoServerError, type Collection, type Document } from "mongodb";
import { RetryableError, TerminalError, messageOf } from "../errors.ts";
import { isPassingCode, type StoredDocument } from "./connection.ts";
import type { Settled } from "./group-commit.ts";

/*
 * The driver writes a second time if its connection breaks or is silent for too long. A server that
 * stood still and goes on may then run both tries side by side (a mongod makes the second wait for the
 * first, others do not). The second is refused what the first has inserted. So:
 * 1. A duplicate key alone says nothing about whose the document is: it is read and compared.
 * 2. Nothing is removed for a duplicate key.
 */

const duplicateKey = 11_000;

/** What is looked at to tell our own document from another's of the same id. */
export interface Mark {
  projection: Document;
  of(document: Document): unknown;
}

/**
 * Inserts what is not there. After an error the database is asked what it has (majority), since a
 * write-concern error or a lost answer says nothing about each document, and one that comes of the
 * driver's second try nothing about its first. `present`: the document of this id was read, and it
 * does not bear our mark.
 */
export async function insertAll<Stored extends { _id: unknown } = StoredDocument>(
  collection: Collection<Stored>,
  documents: Stored[],
  mark: Mark,
): Promise<Settled<"inserted" | "present">[]> {
  try {
    await collection.insertMany(documents as never, { ordered: false });
    return documents.map(() => ({ value: "inserted" }));
  } catch (error) {
    const refused = new Map(
      writeErrorsOf(error).map((refusal) => [refusal.index, refusal] as const),
    );
    const ids = documents.map(({ _id }) => _id);
    const { projection } = mark;
    const there = await collection.find({ _id: { $in: ids } } as never, { projection }).toArray();
    const marks = new Map(there.map((found) => [String(found._id), mark.of(found)]));
    return documents.map((document, index) => {
      const key = String(document._id);
      if (!marks.has(key)) return { error: refusalOf(refused.get(index), error) };
      return { value: marks.get(key) === mark.of(document) ? "inserted" : "present" };
    });
  }
}

/**
 * Does an upsert by `_id`, which must come to the same when it is done twice. Where another try of it,
 * the driver's first or another service's, has inserted the document meanwhile, it is an update now.
 */
export async function upserting<Result>(upsert: () => Promise<Result>): Promise<Result> {
  try {
    return await upsert();
  } catch (error) {
    if (!isDuplicate(error)) throw error;
    return upsert();
  }
}

export function isDuplicate(error: unknown): boolean {
  return error instanceof MongoServerError && error.code === duplicateKey;
}

export function writeErrorsOf(error: unknown): { index: number; code: number; errmsg?: string }[] {
  if (!(error instanceof MongoBulkWriteError)) return [];
  return [error.writeErrors].flat().map(({ index, code, errmsg }) => ({
    index,
    code,
    ...(errmsg === undefined ? {} : { errmsg }),
  }));
}

/** What the one who asked is told; `refusal` is the server's for this one of a bulk, if there is any. */
export function refusalOf(
  refusal: { code: number; errmsg?: string } | undefined,
  error: unknown,
): Error {
  // A duplicate of what the majority does not have, or no longer, may come through the next time.
  const isLasting =
    refusal !== undefined && refusal.code !== duplicateKey && !isPassingCode(refusal.code);
  if (isLasting)
    return new TerminalError("STORE_WRITE_REFUSED", refusal.errmsg ?? messageOf(error));
  return new RetryableError("STORE_WRITE_UNCERTAIN", messageOf(error), { cause: error });
}
