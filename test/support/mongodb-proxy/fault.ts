import type { CommandError, WriteConcernErrorName } from "./server-errors.ts";
import type { Command } from "./wire-message.ts";

/** What becomes of a command. */
export type Fault =
  /** The server never sees it. */
  | { kind: "error"; error: CommandError }
  /** The server does it, and says this about the majority. */
  | { kind: "write concern"; error: WriteConcernErrorName }
  /** The server does all its operations but one, about which it says this. */
  | { kind: "operation error"; index: number; code: number; errmsg: string }
  /** The server does it; its reply comes this much later. */
  | { kind: "delay"; ms: number }
  /** The server does it, but its reply never comes; with `close` the connection ends instead. */
  | { kind: "lose reply"; close: boolean }
  /** The connection ends before the server has seen it. */
  | { kind: "lose command" };

/** Commands that a node answers in any role. */
export const hellos = new Set(["hello", "isMaster", "ismaster"]);
export const ofAnyRole = new Set([...hellos, "ping", "buildInfo", "endSessions", "killCursors"]);
const writes = new Set([
  "insert",
  "update",
  "delete",
  "findAndModify",
  "createIndexes",
  "bulkWrite",
]);

/** What a secondary says; we ask nothing of one. */
export function refusalOf({ name }: Command): Fault | undefined {
  if (ofAnyRole.has(name)) return undefined;
  const error = writes.has(name) ? "notWritablePrimary" : "notPrimaryNoSecondaryOk";
  return { kind: "error", error };
}
