import { createPublicKey } from "node:crypto";

/** The TXT record (RFC 6376 §3.6.1) that belongs to a private key in PEM, RSA or Ed25519. */
export function dkimRecord(privateKeyPem: string): string {
  const key = createPublicKey(privateKeyPem);
  const spki = key.export({ type: "spki", format: "der" });
  // RFC 8463 §4.2: for Ed25519 the bare 32 bytes, not the structure around them.
  const isRsa = key.asymmetricKeyType === "rsa";
  const published = isRsa ? spki : spki.subarray(-32);
  return `v=DKIM1; k=${isRsa ? "rsa" : "ed25519"}; p=${published.toString("base64")}`;
}
