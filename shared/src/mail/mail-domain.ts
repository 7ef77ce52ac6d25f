import { domainToASCII } from "node:url";
import { comparedAddress } from "./local-part.ts";
import { domainOf } from "./smtp-envelope.ts";

const label = /^[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;

/**
 * A domain that is normal already: labels as above, no encoded one (`xn--`), and a last label that
 * cannot be read as a number, as in an IP address.
 */
const normal =
  /^(?!.*xn--)(?=.{1,253}$)(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z](?:[a-z0-9_-]{0,61}[a-z0-9_])?$/;

/** A domain in lower case, in ASCII (IDNA), without a final dot; undefined if it is none. */
export function normalDomain(text: string): string | undefined {
  if (normal.test(text)) return text;
  const ascii = domainToASCII(text.replace(/\.$/, "")).toLowerCase();
  if (ascii === "" || ascii.length > 253) return undefined;
  return ascii.split(".").every((part) => label.test(part)) ? ascii : undefined;
}

/** The normal form of an address's domain, or undefined if it has none. */
export function domainOfAddress(address: string): string | undefined {
  return normalDomain(domainOf(address));
}

/** The domain that all these addresses share; undefined unless there is exactly one. */
export function onlyDomainOf(addresses: readonly string[]): string | undefined {
  const [domain, ...others] = addresses.map(domainOfAddress);
  return others.every((other) => other === domain) ? domain : undefined;
}

/**
 * An address in the form by which policies are found: lower case, quoted only if it must be
 * (`"vip"@` is `vip@`, RFC 5321 §4.1.2), domain in ASCII. Local parts are compared without case
 * although RFC 5321 §2.4 lets a host tell them apart: nobody means two policies by that.
 */
export function normalAddress(address: string): string | undefined {
  const domain = domainOfAddress(address);
  const compared = comparedAddress(address);
  const local = compared.slice(0, compared.lastIndexOf("@"));
  return domain === undefined || local === "" ? undefined : `${local}@${domain}`;
}

/** Local parts in which a delimiter separates nothing (RFC 5321 §4.5.1, RFC 3834, Postfix). */
const whole = /^(?:postmaster|mailer-daemon|double-bounce|owner-.*|.*-request)$/;

/**
 * The normal address without its extension (`vip+news@` → `vip@`) if it has one by these
 * delimiters; otherwise undefined.
 */
export function withoutExtension(normal: string, delimiters: string): string | undefined {
  if (delimiters === "") return undefined;
  const at = normal.lastIndexOf("@");
  const local = normal.slice(0, at);
  if (local.startsWith('"') || whole.test(local)) return undefined;
  const ends = Array.from(delimiters, (delimiter) => local.indexOf(delimiter, 1));
  const end = Math.min(...ends.filter((end) => end > 0));
  return Number.isFinite(end) ? local.slice(0, end) + normal.slice(at) : undefined;
}
