import { z } from "zod";
import type { SpamSettings } from "../checks/spam.ts";
import type { VirusSettings } from "../checks/virus.ts";
import { sha256Hex } from "../ids.ts";

/** The changes that the enricher knows, in their default order, which is one that I5 allows. */
export const changeKinds = [
  "strip",
  "verdict-headers",
  "extra-headers",
  "geoip",
  "subject-tag",
  "sender-rewrite",
  "disclaimer",
  "sign",
] as const;
export type ChangeKind = (typeof changeKinds)[number];

/** A header field name (RFC 5322: printable US-ASCII except the colon). */
export const fieldNameSchema = z.string().regex(/^[\x21-\x39\x3b-\x7e]{1,76}$/);
/** A header field body on one line: no CR, LF or NUL can smuggle in another field. */
export const fieldBodySchema = z
  .string()
  .max(900)
  .regex(/^[^\r\n\0]*$/);

/** One change and what it needs. `sender-rewrite` maps addresses (or `@domain`) to an address. */
export const changeSchema = z.discriminatedUnion("kind", [
  z.strictObject({ kind: z.literal("strip") }),
  z.strictObject({ kind: z.literal("verdict-headers") }),
  z.strictObject({
    kind: z.literal("extra-headers"),
    headers: z.array(z.strictObject({ name: fieldNameSchema, value: fieldBodySchema })).max(50),
  }),
  z.strictObject({ kind: z.literal("geoip") }),
  z.strictObject({ kind: z.literal("subject-tag"), tag: fieldBodySchema }),
  z.strictObject({
    kind: z.literal("sender-rewrite"),
    map: z.record(z.string().max(320), z.string().max(320)),
  }),
  z.strictObject({
    kind: z.literal("disclaimer"),
    text: z.string().max(20_000),
    html: z.string().max(100_000).optional(),
  }),
  z.strictObject({
    kind: z.literal("sign"),
    /** d= and s= of RFC 6376. */
    domain: z.string().max(255),
    selector: z.string().max(255),
    /** PEM (RSA or Ed25519), or `file:/path` as the enricher sees it. */
    privateKey: z.string().max(16_384),
  }),
]);
export type Change = z.infer<typeof changeSchema>;

export const enrichSettingsSchema = z.looseObject({
  changes: z.array(changeSchema).max(20),
  /** In points: shown in X-Spam-Status and decides about X-Spam-Flag. */
  spamThreshold: z.number(),
  /**
   * Policy asks for a signature, but the tenant has no key for the From that leaves; the notes say
   * so.
   */
  noKey: z.boolean().optional(),
});
export type EnrichSettings = z.infer<typeof enrichSettingsSchema>;

/**
 * What a policy asks of one task. The task carries its whole settings, so that workers need no
 * database; their hash goes back in the result and into the verdict (I4).
 */
export type TaskSettings = VirusSettings | SpamSettings | EnrichSettings;

/** SHA-256 (first 16 bytes, hex) of the settings, in a form that does not depend on key order. */
export function settingsHashOf(settings: unknown): string {
  return sha256Hex(JSON.stringify(sorted(settings))).slice(0, 32);
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  const entries = Object.entries(value).filter(([, entry]) => entry !== undefined);
  entries.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return Object.fromEntries(entries.map(([key, entry]) => [key, sorted(entry)]));
}
