import { isUtf8 } from "node:buffer";
import addressparser, { type Address } from "nodemailer/lib/addressparser";
import {
  fieldBody,
  fieldBytes,
  foldBytes,
  type BlockField,
} from "@rs-agent/shared/mail/header-block.ts";
import { unable, type ApplyChange } from "./change.ts";

type Mailbox = addressparser.Address;
type Lookup = (address: string) => string | undefined;

/**
 * Writes another sender by the policy's map: the SMTP sender, From and Sender by the same map, so
 * that they agree. Names keep their bytes, encoded words included; the null sender stays null.
 */
export const rewriteSender: ApplyChange<"sender-rewrite"> = (mail, { map }, { task }) => {
  const wrong = Object.values(map).find((address) => !isAddress.test(address));
  if (wrong !== undefined) return unable(`sender-rewrite maps to ${wrong}, which is no address`);
  const newAddress = lookupIn(map);
  const mailFrom = newAddress(mail.mailFrom ?? task.smtp.mailFrom);
  if (mailFrom !== undefined) mail.mailFrom = mailFrom;
  mail.header.rewrite((field) =>
    field.name === "from" || field.name === "sender" ? rewritten(field, newAddress) : undefined,
  );
  return undefined;
};

const isAddress = /^[^\s\x00-\x1f\x7f@<>]+@[^\s\x00-\x1f\x7f@<>]+$/;

/** The whole address goes before its domain; neither heeds case. */
function lookupIn(map: Readonly<Record<string, string>>): Lookup {
  const entries = Object.entries(map).map(([from, to]) => [from.toLowerCase(), to] as const);
  const addresses = new Map(entries);
  return (address) => {
    const at = address.lastIndexOf("@");
    if (at < 0) return undefined;
    const key = address.toLowerCase();
    return addresses.get(key) ?? addresses.get(key.slice(at));
  };
}

/**
 * The field with mapped addresses; undefined where none is mapped. Addresses are parsed from the
 * undecoded text: words decoded first could bring commas and angle brackets of their own.
 */
function rewritten(field: BlockField, newAddress: Lookup): Buffer | undefined {
  const body = fieldBody(field);
  const encoding = isUtf8(body) ? "utf8" : "latin1";
  let mappedCount = 0;
  const mailbox = ({ name, address }: Mailbox): string => {
    const mapped = newAddress(address);
    if (mapped !== undefined) mappedCount += 1;
    return mailboxText(name, mapped ?? address);
  };
  const entries = addressparser(body.toString(encoding)).map((entry) =>
    entry.group === undefined
      ? mailbox(entry)
      : `${phrase(entry.name)}: ${entry.group.flatMap(mailboxesOf).map(mailbox).join(", ")};`,
  );
  if (mappedCount === 0) return undefined;
  const name = fieldBytes(field).toString("latin1", 0, field.bodyStart - field.start - 1);
  return foldBytes(name.trimEnd(), Buffer.from(entries.join(", "), encoding).toString("latin1"));
}

function mailboxesOf(entry: Address): Mailbox[] {
  return entry.group === undefined ? [entry] : entry.group.flatMap(mailboxesOf);
}

function mailboxText(name: string, address: string): string {
  return name === "" ? address : `${phrase(name)} <${address}>`;
}

/** A display name: atoms and encoded words as they are, anything else in quotes (RFC 5322 §3.2.5). */
function phrase(name: string): string {
  const clean = name.replace(/[\r\n\0]+/g, " ");
  return /^[^()<>[\]:;@\\,."]*$/.test(clean) ? clean : `"${clean.replace(/["\\]/g, "\\$&")}"`;
}
