import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { messageOf, TerminalError } from "@rs-agent/shared/errors.ts";
import { readCertificate, type Certificate } from "@rs-agent/shared/pem-files.ts";

/** What a next hop wants to hear at AUTH (RFC 4954). */
export interface Credential {
  user: string;
  password: string;
}

/** What this relay shows to a next hop that asks who it is; either may be enough. */
export interface HopSecrets {
  credential: Credential | undefined;
  /** Shown in the TLS handshake. */
  certificate: Certificate | undefined;
}

/**
 * Reads a credential by the name that a policy's route gives: in a folder of that name the files
 * `username` and `password`, or `tls.crt` and `tls.key`, or all four (as Kubernetes mounts secrets of
 * the types basic-auth and tls). Read again for each connection, so what is renewed needs no restart.
 * @throws TerminalError RELAY_ROUTE_INVALID
 */
export async function readHopSecrets(
  secretsDir: string | undefined,
  name: string,
): Promise<HopSecrets> {
  if (secretsDir === undefined) throw unusable(name, "RELAY_SECRETS_DIR is not set");
  if (!/^[A-Za-z0-9_-][A-Za-z0-9._-]*$/.test(name)) throw unusable(name, "it is not a file name");
  const dir = join(secretsDir, name);
  try {
    const there = new Set(await readdir(dir));
    const has = (...files: string[]) => files.some((file) => there.has(file));
    const hasCertificate = has("tls.crt", "tls.key");
    return {
      certificate: hasCertificate ? await certificateIn(dir) : undefined,
      credential:
        hasCertificate && !has("username", "password") ? undefined : await credentialIn(dir),
    };
  } catch (error) {
    throw unusable(name, messageOf(error), error);
  }
}

async function credentialIn(dir: string): Promise<Credential> {
  const [user, password] = await Promise.all([
    readFile(join(dir, "username"), "utf8"),
    readFile(join(dir, "password"), "utf8"),
  ]);
  return { user: withoutLineEnd(user), password: withoutLineEnd(password) };
}

function certificateIn(dir: string): Promise<Certificate> {
  return readCertificate(
    { setting: "tls.crt", path: join(dir, "tls.crt") },
    { setting: "tls.key", path: join(dir, "tls.key") },
  );
}

function withoutLineEnd(text: string): string {
  return text.replace(/\r?\n$/, "");
}

function unusable(name: string, why: string, cause?: unknown): TerminalError {
  return new TerminalError("RELAY_ROUTE_INVALID", `credential ${name} cannot be read: ${why}`, {
    cause,
  });
}
