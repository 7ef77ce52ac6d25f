import { BSON, MongoBulkWriteError, type ClientSession, type Collection } from "mongodb";
import { TerminalError } from "../errors.ts";
import type { PolicyDocument } from "../policy/document.ts";
import { isPassing, type StoredDocument } from "./connection.ts";
import { isDuplicate, writeErrorsOf } from "./inserts.ts";

/** Documents in a command, and in a reply. */
export const batchSize = 1_000;
/** MongoDB's own limit. */
const maxDocumentBytes = 16 * 1024 * 1024;

/** What has to be written so that some documents are there, and no others. */
export interface Differences {
  /** Their ids. */
  removed: string[];
  added: PolicyDocument[];
  changed: PolicyDocument[];
}

/** Documents that are written or removed, of those that have to be. It starts again if the transaction does. */
export interface WriteProgress {
  done: number;
  total: number;
}

/** @throws TerminalError CFG_POLICY_INVALID naming each document that is too large for MongoDB */
export function demandRoom(documents: readonly PolicyDocument[]): void {
  const tooLarge = documents.filter(
    (document) => BSON.calculateObjectSize(document, options) > maxDocumentBytes,
  );
  if (tooLarge.length === 0) return;
  const lines = tooLarge.map(
    ({ _id }) => `policy ${_id} is larger than the 16 MB that one document may have`,
  );
  throw new TerminalError("CFG_POLICY_INVALID", lines.join("\n"));
}

/** `stored`: as bytes. */
export async function differencesOf(
  stored: AsyncIterable<Uint8Array>,
  documents: readonly PolicyDocument[],
): Promise<Differences> {
  const wanted = new Map(documents.map((document) => [document._id as string, document]));
  const removed: string[] = [];
  const changed: PolicyDocument[] = [];
  for await (const raw of stored) {
    const { _id, revision } = BSON.deserialize(raw) as { _id: string; revision: unknown };
    const document = wanted.get(_id);
    wanted.delete(_id);
    if (document === undefined) removed.push(_id);
    else if (Buffer.compare(raw, bytesOf({ ...document, revision })) !== 0) changed.push(document);
  }
  return { removed, changed, added: [...wanted.values()] };
}

/**
 * Writes them in the session's transaction, a thousand documents in a command.
 * @throws TerminalError STORE_WRITE_REFUSED naming the document, if it is the database's last word
 */
export async function writeDifferences(
  policies: Collection<StoredDocument>,
  { removed, added, changed }: Differences,
  at: { revision: number; session: ClientSession; onProgress: (progress: WriteProgress) => void },
): Promise<void> {
  const { revision, session, onProgress } = at;
  const total = removed.length + added.length + changed.length;
  let done = 0;
  const inBatches = async <T>(all: readonly T[], write: (some: T[]) => Promise<unknown>) => {
    for (let from = 0; from < all.length; from += batchSize) {
      const some = all.slice(from, from + batchSize);
      await write(some);
      done += some.length;
      onProgress({ done, total });
    }
  };
  const store = (write: (some: StoredDocument[]) => Promise<unknown>) => (some: PolicyDocument[]) =>
    named(some, write(some.map((document) => idFirst({ ...document, revision }))));
  await inBatches(removed, (ids) => policies.deleteMany({ _id: { $in: ids } }, { session }));
  await inBatches(
    added,
    store((some) => policies.insertMany(some, { session })),
  );
  await inBatches(
    changed,
    store((some) => policies.bulkWrite(some.map(replacementOf), { session })),
  );
}

function replacementOf({ _id, ...replacement }: StoredDocument) {
  return { replaceOne: { filter: { _id }, replacement } };
}

/** TransactionTooLargeForCache, of MongoDB since 6.2. */
const tooLarge = 388;

/** What may pass, or come of another's transaction, is for those who try again. */
async function named(documents: readonly PolicyDocument[], writing: Promise<unknown>) {
  try {
    await writing;
  } catch (error) {
    if (!(error instanceof MongoBulkWriteError) || isPassing(error) || isDuplicate(error))
      throw error;
    const refused = (text: string) =>
      new TerminalError("STORE_WRITE_REFUSED", text, { cause: error });
    if (error.code === tooLarge) {
      const advice = "apply a file with a part of the changes first, then the whole one";
      throw refused(`so many changes do not fit into one transaction of this database; ${advice}`);
    }
    const [refusal] = writeErrorsOf(error);
    if (refusal === undefined) throw error;
    const { index, errmsg = error.message } = refusal;
    throw refused(`policy ${documents[index]?._id ?? ""} is refused by the database: ${errmsg}`);
  }
}

const options = { ignoreUndefined: true };

/** As they are stored; the order of keys may mean something (`extra-headers`). */
function bytesOf(document: StoredDocument): Uint8Array {
  return BSON.serialize(idFirst(document), options);
}

function idFirst({ _id, ...fields }: StoredDocument): StoredDocument {
  return { _id, ...fields };
}
