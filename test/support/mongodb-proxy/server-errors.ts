import type { Document } from "mongodb";
import type { Command } from "./wire-message.ts";

/**
 * Errors in the form in which mongod sends them (error_codes.yml; the specifications of retryable
 * writes, change streams and server discovery say which of them carry which label).
 */

/** Errors that end a command: `{ ok: 0 }`. */
const commandErrors = {
  notWritablePrimary: [10107, "NotWritablePrimary", "not primary"],
  notPrimaryNoSecondaryOk: [13435, "NotPrimaryNoSecondaryOk", "not primary and secondaryOk=false"],
  primarySteppedDown: [189, "PrimarySteppedDown", "Primary stepped down while waiting"],
  interruptedAtShutdown: [11600, "InterruptedAtShutdown", "interrupted at shutdown"],
  interruptedDueToReplStateChange: [
    11602,
    "InterruptedDueToReplStateChange",
    "operation was interrupted",
  ],
  writeConflict: [
    112,
    "WriteConflict",
    "WriteConflict error: this operation conflicted with another operation. Please retry your operation or multi-document transaction.",
  ],
  exceededTimeLimit: [262, "ExceededTimeLimit", "operation exceeded time limit"],
  commandNotFound: [59, "CommandNotFound", "no such command: 'bulkWrite'"],
  invalidNamespace: [73, "InvalidNamespace", "Invalid namespace specified 'a/b.mails'"],
  cursorNotFound: [43, "CursorNotFound", "cursor id 7 not found"],
  changeStreamFatalError: [
    280,
    "ChangeStreamFatalError",
    "cannot resume stream; the resume token was not found. {_data: ...}",
  ],
  changeStreamHistoryLost: [
    286,
    "ChangeStreamHistoryLost",
    "Resume of change stream was not possible, as the resume point may no longer be in the oplog.",
  ],
  bsonObjectTooLarge: [
    10334,
    "BSONObjectTooLarge",
    "Executor error during getMore :: caused by :: BSONObj size: 16836000 (0x100E5A0) is invalid. Size must be between 0 and 16793600(16MB)",
  ],
} as const satisfies Record<string, readonly [number, string, string]>;
export type CommandError = keyof typeof commandErrors;

/**
 * Errors of a write that was applied, while it waited for the majority: `{ ok: 1, n: …,
 * writeConcernError }`.
 */
const writeConcernErrors = {
  timeout: [64, "WriteConcernFailed", "waiting for replication timed out"],
  shutdown: [91, "ShutdownInProgress", "Replication is being shut down"],
  unsatisfiable: [100, "UnsatisfiableWriteConcern", "Not enough data-bearing nodes"],
  steppedDown: [189, "PrimarySteppedDown", "Primary stepped down while waiting for replication"],
} as const satisfies Record<string, readonly [number, string, string]>;
export type WriteConcernErrorName = keyof typeof writeConcernErrors;

/** With these the server tells a retryable write that it may be tried again. */
const retryableWrite = new Set([91, 189, 262, 10107, 11600, 11602, 13435, 13436]);
/** With these it tells a change stream that it may resume; with the others, that it may not. */
const resumable = new Set([91, 189, 262, 10107, 11600, 11602, 13435, 13436, 234, 133]);
const notResumable = new Set([280, 286]);
/** These say that the server's role has changed, and carry its newer view of the set. */
const ofRole = new Set([91, 189, 10107, 11600, 11602, 13435, 13436]);

/** Steps to the next version of the server's view of the set, and returns it. */
type NextTopology = () => Document;

/** The whole reply to this command. */
export function errorReply(name: CommandError, command: Command, next: NextTopology): Document {
  const [code, codeName, errmsg] = commandErrors[name];
  return { ok: 0, errmsg, code, codeName, ...labels(code, command), ...role(code, next) };
}

/** What to add to the server's own reply. */
export function writeConcernError(
  name: WriteConcernErrorName,
  command: Command,
  next: NextTopology,
): Document {
  const [code, codeName, errmsg] = writeConcernErrors[name];
  const errInfo = {
    ...(code === 64 ? { wtimeout: true } : {}),
    writeConcern: { w: "majority", wtimeout: 10_000, provenance: "clientSupplied" },
  };
  const error = { code, codeName, errmsg, errInfo };
  return { writeConcernError: error, ...labels(code, command), ...role(code, next) };
}

function labels(code: number, { body }: Command): { errorLabels?: string[] } {
  const errorLabels = [
    ...(body.txnNumber !== undefined && retryableWrite.has(code) ? ["RetryableWriteError"] : []),
    ...(isOfStream(body) && resumable.has(code) ? ["ResumableChangeStreamError"] : []),
    ...(isOfStream(body) && notResumable.has(code) ? ["NonResumableChangeStreamError"] : []),
  ];
  return errorLabels.length === 0 ? {} : { errorLabels };
}

/** Any `getMore` of ours belongs to a stream: nothing else leaves a cursor open for long. */
function isOfStream(body: Document): boolean {
  return "getMore" in body || "aggregate" in body;
}

function role(code: number, next: NextTopology): Document {
  return ofRole.has(code) ? { topologyVersion: next() } : {};
}
