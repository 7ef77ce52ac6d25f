import { isIP } from "node:net";
import { normalDomain } from "./mail-domain.ts";

const maxLength = 320;

/** Inside quotes, blanks and anything else printable may occur (RFC 5321 §4.1.2). */
const asciiLocalPart = /^(?:"[\x20-\x7e]*"|[\x21-\x7e]+)$/;

/** An address of an SMTP envelope as the record keeps it, or what is wrong with it. */
export type EnvelopeAddress = { address: string } | { problem: "bad" | "not-ascii" };

/**
 * The local part as given, the domain in lower case and ASCII; `""` is the null sender. Lenient where
 * real mail is: dots at odd places, underscores in domains, long local parts.
 */
export function envelopeAddress(given: string): EnvelopeAddress {
  if (given === "") return { address: "" };
  const at = given.lastIndexOf("@");
  const local = given.slice(0, at);
  if (at < 1) return { problem: "bad" };
  if (!asciiLocalPart.test(local)) return { problem: "not-ascii" };
  const domain = envelopeDomain(given.slice(at + 1));
  if (domain === undefined) return { problem: "bad" };
  const address = `${local}@${domain}`;
  return address.length > maxLength ? { problem: "bad" } : { address };
}

function envelopeDomain(text: string): string | undefined {
  const literal = /^\[(?:IPv6:)?([0-9a-f.:]+)\]$/i.exec(text)?.[1];
  if (literal !== undefined) return isIP(literal) === 0 ? undefined : text;
  const domain = normalDomain(text);
  // WHATWG's parser reads numbers as IPv4 addresses; no domain in the DNS ends in a number.
  return domain === undefined || /(^|\.)\d+$/.test(domain) ? undefined : domain;
}
