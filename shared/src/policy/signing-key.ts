import { createPrivateKey } from "node:crypto";
import { isAbsolute } from "node:path";
import { z } from "zod";
import { normalDomain } from "../mail/mail-domain.ts";
import { section } from "./rules.ts";

/**
 * A DKIM private key: `file:/absolute/path` as the enricher sees it, or the PEM itself (RSA or
 * Ed25519), which is then stored in the database and in each mail's plan. A file is the better
 * place.
 */
const privateKeySchema = z
  .string()
  .max(16_384)
  .refine((text) => text.startsWith("file:") || isReadableKey(text), {
    error: "must be file:/path/to/key.pem or the PEM text of an RSA or Ed25519 private key",
  })
  .refine((text) => !text.startsWith("file:") || isAbsolute(text.slice("file:".length)), {
    error: "must name an absolute path: file:/path/to/key.pem",
  });

/** The key of one From domain: d= and s= of RFC 6376. */
export const keySchema = section({
  domain: z
    .string()
    .refine((text) => normalDomain(text) !== undefined, {
      error: "must be a domain such as example.org",
    })
    .transform((text) => normalDomain(text) ?? text),
  selector: z.string().regex(/^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/, {
    error: "must be a DKIM selector: letters, digits, dots and dashes",
  }),
  privateKey: privateKeySchema,
});
export type SigningKey = z.output<typeof keySchema>;

function isReadableKey(pem: string): boolean {
  try {
    const type = createPrivateKey(pem).asymmetricKeyType;
    return type === "rsa" || type === "ed25519";
  } catch {
    return false;
  }
}
