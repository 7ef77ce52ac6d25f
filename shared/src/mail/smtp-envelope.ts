import { z } from "zod";

/** An SMTP path (RFC 5321) as we store it: without angle brackets, `""` for the null sender. */
export const addressPathSchema = z.string().max(320);

/** Who handed the mail to us. Empty strings mean unknown. */
export const clientSchema = z.looseObject({
  /** IPv4 or IPv6 address in text form. */
  address: z.string().max(64),
  /** The name found for the address, or "". */
  name: z.string().max(255),
  /** The argument of HELO, EHLO or LHLO. */
  helo: z.string().max(255),
});
export type Client = z.infer<typeof clientSchema>;

/** The SMTP envelope of RFC 5321, and who handed it in. */
export const smtpEnvelopeSchema = z.looseObject({
  /** `""` is the null sender. */
  mailFrom: addressPathSchema,
  rcptTo: z.array(addressPathSchema).max(10_000),
  client: clientSchema,
  params: z
    .looseObject({
      /** RFC 6152. */
      body: z.enum(["7BIT", "8BITMIME"]).optional(),
    })
    .optional(),
});
export type SmtpEnvelope = z.infer<typeof smtpEnvelopeSchema>;

/** The domain of an address in lower case, or "" if it has none. */
export function domainOf(address: string): string {
  const at = address.lastIndexOf("@");
  return at < 0 ? "" : address.slice(at + 1).toLowerCase();
}
