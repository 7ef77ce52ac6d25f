import { isUtf8 } from "node:buffer";
import addressparser, { type Address } from "nodemailer/lib/addressparser";
import {
  fieldBody,
  fieldBytes,
  foldBytes,
  type BlockField,
} from "@rs-agent/shared/mail/header-block.ts";
import { senderLookup, type SenderLookup } from "@rs-agent/shared/mail/sender-map.ts";
import { addressPlaces } from "./address-places.ts";
import { unable, type ApplyChange } from "./change.ts";

type Mailbox = addressparser.Address;

/**
 * Rewrites the sender by the policy's map: SMTP sender, From and Sender by the same map, so that
 * they agree. All but the addresses keeps its bytes; the null sender stays null.
 */
export const rewriteSender: ApplyChange<"sender-rewrite"> = (mail, { map }, { task }) => {
  const wrong = Object.values(map).find((address) => !isAddress.test(address));
  if (wrong !== undefined)
    return unable(`sender-rewrite maps to ${wrong}, which is not an address`);
  const newAddress = senderLookup(map);
  const mailFrom = newAddress(mail.mailFrom ?? task.smtp.mailFrom);
  if (mailFrom !== undefined) mail.mailFrom = mailFrom;
  mail.header.rewrite((field) =>
    field.name === "from" || field.name === "sender" ? rewritten(field, newAddress) : undefined,
  );
  return undefined;
};

const lineLimit = 998;
const isAddress = /^[^\s\x00-\x1f\x7f@<>]+@[^\s\x00-\x1f\x7f@<>]+$/;

/**
 * The field with mapped addresses; undefined if none is mapped. Only the addresses are replaced:
 * names, comments and folds keep their bytes. If the parser does not read the wanted addresses in
 * the result, the field is rebuilt from what the parser read in the original.
 */
function rewritten(field: BlockField, newAddress: SenderLookup): Buffer | undefined {
  const bytes = fieldBody(field);
  const encoding = isUtf8(bytes) ? "utf8" : "latin1";
  const body = bytes.toString(encoding);
  const present = addressesIn(body);
  const wanted = present.map((address) => newAddress(address) ?? address);
  if (wanted.every((address, at) => address === present[at])) return undefined;
  const spliced = withNewAddresses(body, newAddress);
  const isRight = addressesIn(spliced).join("\n") === wanted.join("\n");
  const text = fieldBytes(field).toString("latin1", 0, field.bodyStart - field.start - 1);
  const name = text.trimEnd();
  const isShort = spliced.split("\r\n").every((line) => line.length + name.length < lineLimit);
  if (isRight && isShort) return Buffer.from(`${name}:${spliced}`, encoding);
  const whole = isRight ? spliced : rebuilt(body, newAddress);
  return foldBytes(name, Buffer.from(whole, encoding).toString("latin1"));
}

/**
 * Addresses are parsed from the undecoded text: encoded words may hold commas and angle brackets of
 * their own.
 */
function addressesIn(body: string): string[] {
  return addressparser(body, { flatten: true }).map(({ address }) => address);
}

function withNewAddresses(body: string, newAddress: SenderLookup): string {
  let changed = "";
  let at = 0;
  for (const { start, end, text, comments } of addressPlaces(body)) {
    const mapped = addressesIn(text).map(newAddress)[0];
    if (mapped === undefined) continue;
    changed += body.slice(at, start) + [mapped, ...comments].join(" ");
    at = end;
  }
  return changed + body.slice(at);
}

function rebuilt(body: string, newAddress: SenderLookup): string {
  const mailbox = ({ name, address }: Mailbox): string =>
    mailboxText(name, newAddress(address) ?? address);
  const entries = addressparser(body).map((entry) =>
    entry.group === undefined
      ? mailbox(entry)
      : `${phrase(entry.name)}: ${entry.group.flatMap(mailboxesOf).map(mailbox).join(", ")};`,
  );
  return entries.join(", ");
}

function mailboxesOf(entry: Address): Mailbox[] {
  return entry.group === undefined ? [entry] : entry.group.flatMap(mailboxesOf);
}

function mailboxText(name: string, address: string): string {
  return name === "" ? address : `${phrase(name)} <${address}>`;
}

/**
 * A display name: atoms and encoded words stay as they are, anything else is quoted (RFC 5322
 * §3.2.5).
 */
function phrase(name: string): string {
  const clean = name.replace(/[\r\n\0]+/g, " ");
  return /^[^()<>[\]:;@\\,."]*$/.test(clean) ? clean : `"${clean.replace(/["\\]/g, "\\$&")}"`;
}
