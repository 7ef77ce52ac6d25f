import { isIP } from "node:net";
import { normalDomain } from "@rs-agent/shared/policy/mail-domain.ts";
import type { Refusal } from "./reply.ts";
import { refuse } from "./reply.ts";

const maxLength = 320;

/** Quoted, blanks and what else is printable may be in it (RFC 5321 §4.1.2). */
const asciiLocalPart = /^(?:"[\x20-\x7e]*"|[\x21-\x7e]+)$/;

/**
 * An address of MAIL FROM or RCPT TO as the record keeps it: the local part as given, the domain
 * in lower case and ASCII. A `Refusal` says what is wrong. Lenient where real mail is: dots at odd places, underscores in domains, long local parts.
 */
export function envelopeAddress(address: string, bad: () => Refusal): string | Refusal {
  if (address === "") return "";
  const at = address.lastIndexOf("@");
  const local = address.slice(0, at);
  if (at < 1) return bad();
  if (!asciiLocalPart.test(local)) return refuse.nonAsciiAddress();
  const domain = envelopeDomain(address.slice(at + 1));
  const whole = `${local}@${domain ?? ""}`;
  return domain === undefined || whole.length > maxLength ? bad() : whole;
}

function envelopeDomain(text: string): string | undefined {
  const literal = /^\[(?:IPv6:)?([0-9a-f.:]+)\]$/i.exec(text)?.[1];
  if (literal !== undefined) return isIP(literal) === 0 ? undefined : text;
  const domain = normalDomain(text);
  // WHATWG's parser takes numbers for IPv4 addresses; no domain of the DNS ends in a number.
  return domain === undefined || /(^|\.)\d+$/.test(domain) ? undefined : domain;
}
