import {
  MongoBulkWriteError,
  MongoClient,
  MongoClientClosedError,
  MongoError,
  MongoExpiredSessionError,
  MongoNetworkError,
  MongoNotConnectedError,
  MongoOperationTimeoutError,
  MongoServerSelectionError,
  MongoTopologyClosedError,
  MongoWriteConcernError,
  ReadConcern,
  ReadPreference,
  WriteConcern,
  type Collection,
  type Db,
  type Document,
} from "mongodb";
import { ConnectionString } from "mongodb-connection-string-url";
import { RetryableError, TerminalError, messageOf } from "../errors.ts";
import "./mended-driver.ts";

/** A document as it lies in the database; what is read is validated before it is used. */
export type StoredDocument = Document & { _id: string };

/**
 * Promises rest on these: majority and journaled writes, majority reads from the primary. They are
 * set on every handle, because a URI could say otherwise. Binary fields come as Buffers.
 */
export const durable = {
  readPreference: ReadPreference.primary,
  readConcern: new ReadConcern("majority"),
  writeConcern: new WriteConcern("majority", 10_000, true),
  promoteBuffers: true,
  ignoreUndefined: true,
} as const;

/**
 * @throws TerminalError CFG_INVALID if the URI is none; its text is not repeated, since it may
 *   hold a password
 */
export function createClient(uri: string): MongoClient {
  try {
    return new MongoClient(uri, {
      ...durable,
      retryReads: true,
      retryWrites: true,
      ...timeOutsFor(uri),
    });
  } catch {
    throw new TerminalError("CFG_INVALID", "MONGODB_URI is not a MongoDB connection string");
  }
}

/** Time-outs that the URI may override; the driver would wait half a minute, or forever. */
const timeOuts = {
  /** A server that accepts and then hangs is away too. Change streams wait shorter than this. */
  socketTimeoutMS: 45_000,
  connectTimeoutMS: 5_000,
  serverSelectionTimeoutMS: 5_000,
};

function timeOutsFor(uri: string): Partial<typeof timeOuts> {
  const given = new Set(
    [...new ConnectionString(uri).searchParams.keys()].map((name) => name.toLowerCase()),
  );
  return Object.fromEntries(
    Object.entries(timeOuts).filter(([name]) => !given.has(name.toLowerCase())),
  );
}

/** In a filter: the field has this value, or is absent where that is undefined. */
export function unchanged(value: unknown): unknown {
  return value === undefined ? { $exists: false } : value;
}

/** A collection with the promises of `durable`. */
export function collectionOf(db: Db, name: string): Collection<StoredDocument> {
  return db.collection<StoredDocument>(name, durable);
}

/** Hosts and database of a URI, for a log line: never user or password. */
export function hostsOf(uri: string): string {
  try {
    return new ConnectionString(uri).hosts.join(",");
  } catch {
    return "an unreadable address";
  }
}

/**
 * Server errors that pass: not primary, shutting down, time limits, conflicts, a cursor or a plan that
 * did not outlive a restart, no majority to be had (error_codes.yml of MongoDB).
 */
const passingCodes = new Set([
  6, 7, 24, 43, 46, 50, 63, 64, 89, 91, 100, 112, 133, 134, 150, 175, 189, 202, 234, 237, 262, 279,
  317, 358, 365, 9001, 10058, 10107, 11600, 11602, 13388, 13435, 13436, 14031,
]);
const passingLabels = ["RetryableWriteError", "RetryableError", "SystemOverloadedError"];

/** True if the database may answer later: it is away, changing its primary or overloaded. */
export function isPassing(thrown: unknown): boolean {
  const error = unwrapped(thrown);
  if (isOfSocket(error)) return true;
  if (!(error instanceof MongoError)) return false;
  if (
    error instanceof MongoNetworkError ||
    error instanceof MongoServerSelectionError ||
    error instanceof MongoNotConnectedError ||
    error instanceof MongoTopologyClosedError ||
    // By us, at our own end: what was under way then was not done, and is nobody's bug.
    error instanceof MongoClientClosedError ||
    error instanceof MongoExpiredSessionError ||
    error instanceof MongoOperationTimeoutError ||
    isOfWriteConcern(error)
  )
    return true;
  if (passingLabels.some((label) => error.hasErrorLabel(label))) return true;
  return isPassingCode(error.code);
}

/** The same of an operation in a bulk write, of which only the code is known. */
export function isPassingCode(code: unknown): boolean {
  return typeof code === "number" && passingCodes.has(code);
}

/** The write was made, but the majority is not known to have it. */
function isOfWriteConcern(error: MongoError): boolean {
  if (error instanceof MongoWriteConcernError) return true;
  if (!(error instanceof MongoBulkWriteError) || [error.writeErrors].flat().length > 0)
    return false;
  return error.result.getWriteConcernError() !== undefined;
}

const socketCodes = new Set([
  ...["ECONNRESET", "ECONNREFUSED", "ECONNABORTED", "EPIPE", "ENOTCONN"],
  ...["ETIMEDOUT", "EHOSTUNREACH", "ENETUNREACH", "EHOSTDOWN", "ENETDOWN"],
]);

/** A write to a socket that breaks in that moment: the driver passes Node's own error on. */
function isOfSocket(error: unknown): boolean {
  if (!(error instanceof Error) || !("syscall" in error) || !("code" in error)) return false;
  return typeof error.code === "string" && socketCodes.has(error.code);
}

/**
 * True if no server could be chosen: to ask what became of the write would end like that too.
 * It may have been sent before: the driver tries a second time by itself.
 */
export function isWithoutServer(error: unknown): boolean {
  return unwrapped(error) instanceof MongoServerSelectionError;
}

/** Of a bulk write, what ended it if that was not an answer of the server's: the driver wraps it. */
function unwrapped(error: unknown): unknown {
  if (!(error instanceof MongoBulkWriteError)) return error;
  return error.errorResponse instanceof Error ? error.errorResponse : error;
}

/** Does something with the database; its being away is RetryableError STORE_UNREACHABLE. */
export async function reach<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (!isPassing(error)) throw error;
    throw new RetryableError("STORE_UNREACHABLE", messageOf(error), { cause: error });
  }
}
