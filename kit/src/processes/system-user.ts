import { readFile } from "node:fs/promises";
import { TerminalError } from "@rs-agent/shared/errors.ts";

/** The user that an engine runs as. */
export interface User {
  name: string;
  uid: number;
  gid: number;
}

/**
 * Numeric ids of a user of this machine, from /etc/passwd (passwd(5)).
 * @throws TerminalError SETUP_MISSING if there is no such user
 */
export async function idsOfUser(user: string): Promise<{ uid: number; gid: number }> {
  const entries = (await readFile("/etc/passwd", "utf8"))
    .split("\n")
    .map((line) => line.split(":"));
  const entry = entries.find(([name]) => name === user);
  if (entry === undefined) {
    throw new TerminalError("SETUP_MISSING", `there is no user ${user} on this machine`);
  }
  return { uid: Number(entry[2]), gid: Number(entry[3]) };
}

/**
 * The first of these users that exists, for an engine that does not work as root.
 * @throws TerminalError SETUP_MISSING
 */
export async function unprivilegedUser(engine: string, names: readonly string[]): Promise<User> {
  for (const name of names) {
    const ids = await idsOfUser(name).catch(() => undefined);
    if (ids !== undefined) return { name, ...ids };
  }
  throw new TerminalError(
    "SETUP_MISSING",
    `${engine} cannot run as root and none of these users exists: ${names.join(", ")}`,
  );
}
