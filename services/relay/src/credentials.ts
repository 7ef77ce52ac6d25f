import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, TerminalError } from "@rs-agent/shared/errors.ts";

/** What a next hop wants to hear at AUTH (RFC 4954). */
export interface Credential {
  user: string;
  password: string;
}

/**
 * Reads a credential by the name that a policy's route gives: the files `username` and `password`
 * in a folder of that name (as Kubernetes mounts a basic-auth secret). Read again for each
 * connection, so a new password needs no restart.
 * @throws TerminalError RELAY_ROUTE_INVALID
 */
export async function readCredential(
  secretsDir: string | undefined,
  name: string,
): Promise<Credential> {
  if (secretsDir === undefined) throw unusable(name, "RELAY_SECRETS_DIR is not set");
  if (!/^[A-Za-z0-9_-][A-Za-z0-9._-]*$/.test(name)) throw unusable(name, "it is no file name");
  try {
    const [user, password] = await Promise.all([
      readFile(join(secretsDir, name, "username"), "utf8"),
      readFile(join(secretsDir, name, "password"), "utf8"),
    ]);
    return { user: withoutLineEnd(user), password: withoutLineEnd(password) };
  } catch (error) {
    throw unusable(name, messageOf(error), error);
  }
}

function withoutLineEnd(text: string): string {
  return text.replace(/\r?\n$/, "");
}

function unusable(name: string, why: string, cause?: unknown): TerminalError {
  return new TerminalError("RELAY_ROUTE_INVALID", `credential ${name} cannot be read: ${why}`, {
    cause,
  });
}
