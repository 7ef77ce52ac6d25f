import { createPrivateKey, createPublicKey, type KeyObject } from "node:crypto";
import { readFile } from "node:fs/promises";
import { messageOf, TerminalError } from "@rs-agent/shared/errors.ts";

/** A private key that can sign, and the DNS record of its public half. */
export interface SigningKey {
  /** PKCS#8 PEM. */
  pem: string;
  /** `v=DKIM1; k=…; p=…` of RFC 6376 §3.6.1 and RFC 8463 §4. */
  record: string;
}

/** RFC 8301 §3.2: signers must use at least this many bits; 2048 is what it recommends. */
const minRsaBits = 1024;

/**
 * Reads a signing key from its source each time, so that the next mail uses a corrected file. No
 * message quotes the key or the file.
 * @param source PEM (RSA or Ed25519), or `file:/path`
 * @throws TerminalError ENRICH_KEY_UNREADABLE
 */
export async function loadSigningKey(source: string): Promise<SigningKey> {
  const key = parseKey(await readPem(source));
  const type = key.asymmetricKeyType;
  if (type !== "rsa" && type !== "ed25519") {
    throw unreadable(`it is of type ${String(type)}; DKIM has RSA and Ed25519`);
  }
  const bits = key.asymmetricKeyDetails?.modulusLength ?? 0;
  if (type === "rsa" && bits < minRsaBits) throw unreadable(`it has ${bits} bits, too few to sign`);
  const pem = key.export({ type: "pkcs8", format: "pem" }).toString();
  return { pem, record: `v=DKIM1; k=${type}; p=${publicPart(key, type)}` };
}

async function readPem(source: string): Promise<string> {
  if (!source.startsWith("file:")) return source;
  try {
    return await readFile(source.slice("file:".length), "utf8");
  } catch (error) {
    throw unreadable(messageOf(error), error);
  }
}

function parseKey(pem: string): KeyObject {
  try {
    return createPrivateKey(pem);
  } catch (error) {
    throw unreadable("it is not a private key in PEM form, or it is encrypted", error);
  }
}

function publicPart(key: KeyObject, type: "rsa" | "ed25519"): string {
  const der = createPublicKey(key).export({ type: "spki", format: "der" });
  const ed25519Prefix = 12;
  return (type === "rsa" ? der : der.subarray(ed25519Prefix)).toString("base64");
}

function unreadable(why: string, cause?: unknown): TerminalError {
  return new TerminalError("ENRICH_KEY_UNREADABLE", `the DKIM key cannot be used: ${why}`, {
    cause,
  });
}
