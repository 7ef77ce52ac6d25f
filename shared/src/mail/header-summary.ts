import libmime from "libmime";
import addressparser from "nodemailer/lib/addressparser";
import { headerFields, unfolded } from "./header-fields.ts";
import { onlyDomainOf } from "./mail-domain.ts";

/** What the record keeps of the header, and what policy needs of it. */
export interface HeaderSummary {
  /** The Message-ID with its angle brackets, as it is. */
  messageId?: string;
  /** The first From field for a person to read: encoded words decoded, at most 998 characters. */
  from?: string;
  /**
   * The From domain in lower case and ASCII. Absent unless there is exactly one: no From, two From
   * fields, or authors in two domains. So a decision based on it (DKIM) never sees another domain
   * than the reader's mail program may show.
   */
  fromDomain?: string;
  /**
   * The addresses of the one From field as written, for a policy that rewrites them. Absent if
   * there is no From or more than one, or if the addresses are more or longer than any honest ones.
   */
  fromAddresses?: string[];
  /** The first Subject field for a person to read: encoded words decoded, at most 256 characters. */
  subject?: string;
}

/** How many bytes of a field are looked at; no honest From or Message-ID is longer. */
const fieldLimit = 16_384;
const showLimit = 998;
const subjectLimit = 256;
const maxFromAddresses = 10;
const maxAddressLength = 320;

/** Reads Message-ID, From and Subject; what is missing or unreadable is absent. Nothing throws. */
export function headerSummary(raw: Buffer): HeaderSummary {
  let messageId: string | undefined;
  let subject: string | undefined;
  const froms: { text: string; whole: boolean }[] = [];
  for (const field of headerFields(raw)) {
    if (field.name === "message-id") messageId ??= unfolded(raw, field, fieldLimit);
    if (field.name === "subject") subject ??= unfolded(raw, field, fieldLimit);
    if (field.name !== "from" || froms.length === 2) continue;
    const whole = field.end - field.bodyStart <= fieldLimit;
    froms.push({ text: unfolded(raw, field, fieldLimit), whole });
  }
  const [first] = froms;
  const addresses = froms.length === 1 && first?.whole ? addressesIn(first.text) : [];
  const fromDomain = onlyDomainOf(addresses);
  return {
    ...(messageId ? { messageId: bounded(messageId) } : {}),
    ...(first?.text ? { from: shown(first.text, showLimit) } : {}),
    ...(fromDomain === undefined ? {} : { fromDomain }),
    ...(isStorable(addresses) ? { fromAddresses: addresses } : {}),
    ...(subject ? { subject: shown(subject, subjectLimit) } : {}),
  };
}

/** One author as most mail has it: an address, alone or after words, bare or in quotes, without special characters. */
const plainAuthor =
  /^(?:(?:[\w!#$%&'*+/=?^`{|}~.-]+ )+<|"[\w!#$%&'*+/=?^`{|}~., -]+" <|<)?([\w!#$%&'*+/=?^`{|}~-]+(?:\.[\w!#$%&'*+/=?^`{|}~-]+)*@[\dA-Za-z-]+(?:\.[\dA-Za-z-]+)*)(>?)$/;

/**
 * The addresses of a From as written. They are parsed before decoding: encoded words may hold commas
 * and angle brackets of their own.
 */
export function addressesIn(from: string): string[] {
  const [, address, closed] = plainAuthor.exec(from) ?? [];
  if (address !== undefined && (closed === ">") === from.includes("<")) return [address];
  return parsedAddresses(from);
}

/** As `addressesIn`, whatever form it has. */
export function parsedAddresses(from: string): string[] {
  return addressparser(from, { flatten: true }).map(({ address }) => address);
}

function isStorable(addresses: readonly string[]): boolean {
  const isBounded = (address: string) =>
    address.length <= maxAddressLength && address.isWellFormed();
  return addresses.length > 0 && addresses.length <= maxFromAddresses && addresses.every(isBounded);
}

/** Encoded words decoded (RFC 2047). */
function shown(text: string, limit: number): string {
  return bounded(text.includes("=?") ? libmime.decodeWords(text) : text, limit);
}

/** Well-formed and short enough for the record. */
function bounded(text: string, limit = showLimit): string {
  return text
    .replace(/[\x00-\x1f\x7f]/g, " ")
    .slice(0, limit)
    .toWellFormed();
}
