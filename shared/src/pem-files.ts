import { createPrivateKey, X509Certificate, type KeyObject } from "node:crypto";
import { unwatchFile, watchFile } from "node:fs";
import { readFile } from "node:fs/promises";
import { messageOf, TerminalError } from "./errors.ts";

/** Certificate chain and private key as PEM, which fit each other. */
export interface Certificate {
  cert: Buffer;
  key: Buffer;
}

/** A file, and where it was named: both are in every error. */
export interface NamedFile {
  setting: string;
  path: string;
}

/**
 * Reads a certificate and its key; they may be in one file.
 * @throws TerminalError CFG_INVALID naming the file and what is wrong with it
 */
export async function readCertificate(
  certFile: NamedFile,
  keyFile: NamedFile,
  passphrase?: string,
): Promise<Certificate> {
  const [cert, key] = await Promise.all([readSecret(certFile), readSecret(keyFile)]);
  const certificate = firstCertificate(certFile, cert);
  const privateKey = parsed<KeyObject>(keyFile, "no private key in PEM that can be used", () =>
    createPrivateKey(passphrase === undefined ? key : { key, passphrase }),
  );
  if (!certificate.checkPrivateKey(privateKey))
    throw unusable(keyFile, `the key does not fit the certificate in ${certFile.path}`);
  return { cert, key };
}

/**
 * Reads certificates to be trusted.
 * @throws TerminalError CFG_INVALID naming the file and what is wrong with it
 */
export async function readTrusted(file: NamedFile): Promise<string> {
  const text = await readSecret(file);
  firstCertificate(file, text);
  return text.toString("utf8");
}

/** @throws TerminalError CFG_INVALID if it is missing, unreadable or empty */
export async function readSecret(file: NamedFile): Promise<Buffer> {
  const bytes = await readFile(file.path).catch((error: unknown) => {
    throw unusable(file, messageOf(error), error);
  });
  if (bytes.length === 0) throw unusable(file, "it is empty");
  return bytes;
}

/**
 * Calls `onChange` when one of the files was changed or replaced, and then nothing more for one
 * interval: certificate and key are seldom written in the same moment. Ends with `signal`.
 */
export function watchFiles(
  paths: readonly string[],
  everyMs: number,
  onChange: () => void,
  signal: AbortSignal,
): void {
  let timer: NodeJS.Timeout | undefined;
  const changed = () => {
    clearTimeout(timer);
    timer = setTimeout(onChange, everyMs);
  };
  // Polled: a mounted secret is replaced by way of links, which the kernel's own events do not tell.
  for (const path of paths) watchFile(path, { interval: everyMs, persistent: false }, changed);
  signal.addEventListener("abort", () => {
    clearTimeout(timer);
    for (const path of paths) unwatchFile(path, changed);
  });
}

/** The constructor looks at the first only; TLS wants the others of the chain in PEM as well. */
function firstCertificate(file: NamedFile, bytes: Buffer): X509Certificate {
  return parsed(file, "no certificate in PEM", () => {
    if (!bytes.includes("-----BEGIN ")) throw new Error("no -----BEGIN line");
    return new X509Certificate(bytes);
  });
}

function parsed<T>(file: NamedFile, what: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw unusable(file, `${what}: ${messageOf(error)}`, error);
  }
}

function unusable({ setting, path }: NamedFile, why: string, cause?: unknown): TerminalError {
  const text = why.includes(path) && !why.startsWith("the key") ? why : `${path}: ${why}`;
  return new TerminalError("CFG_INVALID", `${setting}: ${text}`, { cause });
}
