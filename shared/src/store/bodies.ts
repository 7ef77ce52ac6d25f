import { ObjectId, type Collection, type Db, type Document } from "mongodb";
import type { Clock } from "../clock.ts";
import { RetryableError, TerminalError } from "../errors.ts";
import { newMailId, sha256Hex } from "../ids.ts";
import type { BodyRef } from "../mail/record.ts";
import { collectionOf, durable, reach, type StoredDocument } from "./connection.ts";
import { createGroupCommit, type Settled } from "./group-commit.ts";
import { insertAll, type Mark } from "./inserts.ts";

/**
 * Raw mails, and the second bodies of mails whose body the enricher changed. Nobody who puts a body
 * removes it: one that no record points to in the end is swept (body-removal.ts). All methods throw
 * RetryableError STORE_UNREACHABLE while the database is away.
 */
export interface BodyStore {
  /**
   * Stores bytes under a new id, majority and journaled; small ones in one bulk with all others that
   * wait. The caller must leave `raw` as it is until then.
   */
  put(raw: Buffer): Promise<BodyRef>;
  /**
   * The bytes, read once and checked by size and SHA-256.
   * @throws TerminalError STORE_BODY_MISSING, STORE_BODY_CORRUPT
   */
  get(ref: BodyRef): Promise<Buffer>;
}

/** Larger raw mail is a GridFS file: a document may have 16 MB, and a bulk of them must stay movable. */
const largestDocumentBytes = 8 * 1024 * 1024;
const chunkBytes = 1024 * 1024;
export const bucketName = "bodies";

/** The id is random and ours, so what lies under it is what we have put. */
export const ownBytes: Mark = { projection: { sha256: 1 }, of: ({ sha256 }) => sha256 as unknown };
const ownFile: Mark = {
  projection: { "metadata.sha256": 1 },
  of: ({ metadata }) => (metadata as { sha256?: unknown } | undefined)?.sha256,
};
const ownChunk: Mark = { projection: { n: 1 }, of: ({ n }) => n as unknown };

export function createBodyStore(db: Db, clock: Clock, lingerMs: number): BodyStore {
  const documents = collectionOf(db, "bodies");
  const files = collectionOf(db, `${bucketName}.files`);
  const chunks = db.collection<Chunk>(`${bucketName}.chunks`, durable);
  const inserts = createGroupCommit<StoredDocument, "inserted" | "present">({
    lingerMs,
    maxItems: 500,
    maxBytes: 12_000_000,
    bytesOf: ({ size }) => Number(size),
    concurrency: 2,
    commit: (group) => reach(() => insertAll(documents, group, ownBytes)),
  });

  const reads = createGroupCommit<BodyRef, Buffer | undefined>({
    lingerMs: Math.min(1, lingerMs),
    maxItems: 100,
    maxBytes: 12_000_000,
    bytesOf: ({ size }) => size,
    concurrency: 4,
    commit: (refs) => readDocuments(documents, refs),
  });

  return {
    async put(raw) {
      const ref = newBodyRef(raw);
      const createdAt = clock.now();
      if (ref.form === "document")
        mustBeOurs(await inserts.add(bodyDocument(ref, raw, createdAt)), ref.id);
      else await reach(() => upload(files, chunks, ref, { raw, createdAt }));
      return ref;
    },

    get: (ref) =>
      reach(async () => {
        const raw =
          ref.form === "document" ? await reads.add(ref) : await readChunks(files, chunks, ref);
        if (raw === undefined)
          throw new TerminalError("STORE_BODY_MISSING", `body ${ref.id} is not in the database`);
        if (raw.length !== ref.size || sha256Hex(raw) !== ref.sha256)
          throw new TerminalError("STORE_BODY_CORRUPT", `body ${ref.id} is not what was stored`);
        return raw;
      }),
  };
}

/** Under a new id. */
export function newBodyRef(raw: Buffer): BodyRef {
  return {
    id: newMailId(),
    form: raw.length <= largestDocumentBytes ? "document" : "gridfs",
    size: raw.length,
    sha256: sha256Hex(raw),
  };
}

export function bodyDocument(
  { id, size, sha256 }: BodyRef,
  raw: Buffer,
  createdAt: Date,
): StoredDocument {
  return { _id: id, size, sha256, createdAt, raw };
}

/** One of a GridFS file, as the driver's own bucket makes it. */
interface Chunk {
  _id: ObjectId;
  files_id: string;
  n: number;
  data: Buffer;
}

/**
 * A GridFS file, the chunks first: a file that is there is whole. Not by the driver's stream, which
 * takes the refusal of its own second try for an error and removes what it has written.
 */
async function upload(
  files: Collection<StoredDocument>,
  chunks: Collection<Chunk>,
  { id, sha256 }: BodyRef,
  { raw, createdAt }: { raw: Buffer; createdAt: Date },
): Promise<void> {
  for (let n = 0; n * chunkBytes < raw.length; n++) {
    const data = raw.subarray(n * chunkBytes, (n + 1) * chunkBytes);
    const chunk = { _id: new ObjectId(), files_id: id, n, data };
    await insertOwn(chunks, chunk, ownChunk);
  }
  const file = {
    _id: id,
    length: raw.length,
    chunkSize: chunkBytes,
    uploadDate: createdAt,
    filename: id,
    metadata: { sha256 },
  };
  await insertOwn(files, file, ownFile);
}

async function insertOwn<Stored extends { _id: unknown }>(
  collection: Collection<Stored>,
  document: Stored,
  mark: Mark,
): Promise<void> {
  const [settled] = await insertAll(collection, [document], mark);
  if (settled === undefined || "error" in settled) throw settled?.error;
  mustBeOurs(settled.value, String(document._id));
}

/** Of 103 random bits: it does not happen, and must not be taken for stored if it does. */
function mustBeOurs(found: "inserted" | "present", id: string): void {
  if (found === "present")
    throw new RetryableError("STORE_WRITE_UNCERTAIN", `another body lies under the new id ${id}`);
}

/** One query for all that are asked for at about the same time, as after a claim. */
async function readDocuments(
  documents: Collection<StoredDocument>,
  refs: readonly BodyRef[],
): Promise<Settled<Buffer | undefined>[]> {
  const ids = [...new Set(refs.map(({ id }) => id))];
  const found = await documents.find({ _id: { $in: ids } }, { projection: { raw: 1 } }).toArray();
  const byId = new Map(found.map(({ _id, raw }): [string, unknown] => [_id, raw]));
  return refs.map(({ id }) => {
    const raw = byId.get(id);
    return { value: Buffer.isBuffer(raw) ? raw : undefined };
  });
}

/** The bytes of a GridFS file, or undefined if it is not there or has holes. */
async function readChunks(
  files: Collection<StoredDocument>,
  chunks: Collection<Chunk>,
  { id, size }: BodyRef,
): Promise<Buffer | undefined> {
  if ((await files.findOne({ _id: id }, { projection: { _id: 1 } })) === null) return undefined;
  return joinChunks(chunks.find({ files_id: id }, { sort: { n: 1 } }), size);
}

/** Joins chunks in their order. Stops at `maxBytes` and one byte: more is wrong anyway. */
export async function joinChunks(
  chunks: AsyncIterable<Document>,
  maxBytes: number,
): Promise<Buffer> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of chunks) {
    const data: unknown = chunk.data;
    if (!Buffer.isBuffer(data) || chunk.n !== parts.length) break;
    parts.push(data);
    bytes += data.length;
    if (bytes > maxBytes) break;
  }
  return Buffer.concat(parts, Math.min(bytes, maxBytes + 1));
}
