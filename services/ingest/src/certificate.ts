import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import { TerminalError, messageOf } from "@rs-agent/shared/errors.ts";

/** Certificate chain and private key as PEM. */
export interface Certificate {
  cert: Buffer;
  key: Buffer;
}

/**
 * Reads the certificate for STARTTLS and sees that the two files fit each other.
 * @throws TerminalError CFG_INVALID
 */
export async function readCertificate(certFile: string, keyFile: string): Promise<Certificate> {
  try {
    const [cert, key] = await Promise.all([readFile(certFile), readFile(keyFile)]);
    createSecureContext({ cert, key });
    return { cert, key };
  } catch (error) {
    throw new TerminalError(
      "CFG_INVALID",
      `INGEST_TLS_CERT and INGEST_TLS_KEY cannot be used: ${messageOf(error)}`,
      { cause: error },
    );
  }
}
