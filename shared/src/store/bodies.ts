import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import { GridFSBucket, type Collection, type Db, type Document } from "mongodb";
import type { Clock } from "../clock.ts";
import { TerminalError } from "../errors.ts";
import { newMailId, sha256Hex } from "../ids.ts";
import type { BodyRef } from "../mail/record.ts";
import { collectionOf, durable, reach, type StoredDocument } from "./connection.ts";
import { createGroupCommit, type Settled } from "./group-commit.ts";
import { insertAll } from "./mail-writes.ts";

/**
 * Raw mails, and the second bodies of mails whose body the enricher changed. All methods throw
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
  /** Removes bytes; what is gone already is no error. */
  delete(ref: Pick<BodyRef, "id" | "form">): Promise<void>;
}

/** Larger raw mail is a GridFS file: a document may have 16 MB, and a bulk of them must stay movable. */
const largestDocumentBytes = 8 * 1024 * 1024;
const chunkBytes = 1024 * 1024;
export const bucketName = "bodies";

export function createBodyStore(db: Db, clock: Clock, lingerMs: number): BodyStore {
  const documents = collectionOf(db, "bodies");
  const bucket = new GridFSBucket(db, {
    bucketName,
    chunkSizeBytes: chunkBytes,
    ...durable,
  });
  const files = collectionOf(db, `${bucketName}.files`);
  const chunks = collectionOf(db, `${bucketName}.chunks`);
  const inserts = createGroupCommit<StoredDocument, "inserted" | "present">({
    lingerMs,
    maxItems: 500,
    maxBytes: 12_000_000,
    bytesOf: ({ size }) => Number(size),
    concurrency: 2,
    commit: (group) => reach(() => insertAll(documents, group)),
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
      const ref: BodyRef = {
        id: newMailId(),
        form: raw.length <= largestDocumentBytes ? "document" : "gridfs",
        size: raw.length,
        sha256: sha256Hex(raw),
      };
      const { id, size, sha256 } = ref;
      if (ref.form === "document")
        await inserts.add({ _id: id, size, sha256, createdAt: clock.now(), raw });
      else await reach(() => upload(bucket, chunks, ref, raw));
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

    delete: ({ id, form }) =>
      reach(async () => {
        if (form === "document") {
          await documents.deleteOne({ _id: id });
          return;
        }
        // The file first: chunks without a file are nobody's and are swept.
        await files.deleteOne({ _id: id });
        await chunks.deleteMany({ files_id: id });
      }),
  };
}

async function upload(
  bucket: GridFSBucket,
  chunks: Collection<StoredDocument>,
  ref: BodyRef,
  raw: Buffer,
): Promise<void> {
  // The driver's types want an ObjectId; the server takes any id.
  const id = ref.id as unknown as Parameters<typeof bucket.openUploadStreamWithId>[0];
  const stream = bucket.openUploadStreamWithId(id, ref.id, {
    metadata: { sha256: ref.sha256 },
    writeConcern: durable.writeConcern,
  });
  try {
    await pipeline(Readable.from(slicesOf(raw)), stream);
  } catch (error) {
    await chunks.deleteMany({ files_id: ref.id }).catch(() => undefined);
    throw error;
  }
}

function* slicesOf(raw: Buffer): Generator<Buffer> {
  for (let at = 0; at < raw.length; at += chunkBytes) yield raw.subarray(at, at + chunkBytes);
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

/** The bytes of a GridFS file, or undefined where it is not there or has holes. */
async function readChunks(
  files: Collection<StoredDocument>,
  chunks: Collection<StoredDocument>,
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
