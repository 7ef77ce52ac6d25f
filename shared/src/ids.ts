import { hash, randomFillSync } from "node:crypto";
import { customAlphabet } from "nanoid";

const mailAlphabet = customAlphabet("0123456789abcdefghijklmnopqrstuvwxyz", 20);

/** A new mail id: 20 characters of [0-9a-z] (103 bits), safe in file names, headers and logs. */
export function newMailId(): string {
  return mailAlphabet();
}

/** The id of a mail adopted from a source record: the same record gives the same id. */
export function adoptedMailId(sourceId: string, recordId: string): string {
  return "a" + digest(`${sourceId}\0${recordId}`);
}

/** The id of a DSN: the same mail, recipients and reason give the same id. */
export function dsnMailId(mailId: string, recipients: readonly string[], reason: string): string {
  return "d" + digest(`${mailId}\0${[...recipients].sort().join("\0")}\0${reason}`);
}

/** The id of the nth child (0-based) of a mail that was split. */
export function childMailId(parentId: string, ordinal: number): string {
  return `${parentId}-${String(ordinal)}`;
}

/** Random bytes drawn ahead, since each draw costs microseconds whatever its size. */
const pool = Buffer.alloc(4096);
let drawn = pool.length;

/** A random 128-bit id as 32 hex digits: task ids, session nonces, lease tokens. */
export function newToken(): string {
  if (drawn === pool.length) {
    randomFillSync(pool);
    drawn = 0;
  }
  drawn += 16;
  return pool.toString("hex", drawn - 16, drawn);
}

export function sha256Hex(data: Uint8Array | string): string {
  return hash("sha256", data);
}

function digest(text: string): string {
  return sha256Hex(text).slice(0, 24);
}
