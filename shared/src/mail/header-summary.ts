import libmime from "libmime";
import addressparser from "nodemailer/lib/addressparser";
import { headerFields, unfolded } from "./header-fields.ts";
import { domainOfAddress } from "../policy/mail-domain.ts";

/** What the record keeps of the header, and what policy asks of it. */
export interface HeaderSummary {
  /** The Message-ID with its angle brackets, as it stands. */
  messageId?: string;
  /** The first From field for a person to read: encoded words decoded, at most 998 characters. */
  from?: string;
  /**
   * The From domain in lower case and ASCII. Absent where it is not one and only one: no From, two
   * From fields, authors in two domains. Whoever decides by it (DKIM) so never sees another domain
   * than the reader's mail program may show.
   */
  fromDomain?: string;
}

/** Bytes of a field that are looked at; no honest From or Message-ID is longer. */
const fieldLimit = 16_384;
const showLimit = 998;

/** Reads Message-ID and From; what is missing or unreadable is absent, nothing throws. */
export function headerSummary(raw: Buffer): HeaderSummary {
  let messageId: string | undefined;
  const froms: { text: string; whole: boolean }[] = [];
  for (const field of headerFields(raw)) {
    if (field.name === "message-id") messageId ??= unfolded(raw, field, fieldLimit);
    if (field.name !== "from" || froms.length === 2) continue;
    const whole = field.end - field.bodyStart <= fieldLimit;
    froms.push({ text: unfolded(raw, field, fieldLimit), whole });
  }
  const [first] = froms;
  const fromDomain = froms.length === 1 && first?.whole ? onlyDomainOf(first.text) : undefined;
  return {
    ...(messageId ? { messageId: bounded(messageId) } : {}),
    ...(first?.text ? { from: bounded(libmime.decodeWords(first.text)) } : {}),
    ...(fromDomain === undefined ? {} : { fromDomain }),
  };
}

/** Addresses are parsed first: decoded words could hold commas and angle brackets of their own. */
function onlyDomainOf(from: string): string | undefined {
  const domains = addressparser(from, { flatten: true }).map(({ address }) =>
    domainOfAddress(address),
  );
  const [domain] = domains;
  return domain && domains.every((other) => other === domain) ? domain : undefined;
}

/** Well-formed, and short enough for the record. */
function bounded(text: string): string {
  return text
    .replace(/[\x00-\x1f\x7f]/g, " ")
    .slice(0, showLimit)
    .toWellFormed();
}
