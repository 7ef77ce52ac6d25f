import { hasFinding } from "../checks/asked.ts";
import {
  addressForHeader,
  dateTime,
  deliveryStatusAddress,
  oneLine,
  printable,
} from "./dsn-text.ts";
import type { ProvenSender } from "./authentication/sender-proof.ts";
import { foldBytes } from "./header-block.ts";
import { headerFields } from "./header-fields.ts";
import type { MailRecord } from "./record.ts";
import { dsnMailId } from "../ids.ts";
import * as quotedPrintable from "nodemailer/lib/qp";

/** A recipient who gets nothing, as the report names it. */
export interface FailedRecipient {
  address: string;
  /** RFC 3463, e.g. `5.1.1`. */
  status: string;
  /** The whole last reply, or our own words if there was none. */
  reply?: string;
  /** Who gave that reply: a host name or address. Absent: we did. */
  remoteMta?: string;
  lastAttemptAt?: Date;
}

/** What a report on undelivered mail is made from. */
export interface DsnRequest {
  /** The mail that failed; its sender gets the report. */
  mail: MailRecord;
  failed: readonly FailedRecipient[];
  /** Why its sender may be told (I12). */
  proof: ProvenSender;
  /**
   * Why the mail failed, in words that stay the same when the same failure is reported again: they
   * go into the id.
   */
  reason: string;
  /** The failed mail's bytes, or their beginning with the whole header. */
  original: Buffer;
  /** Our own name (Reporting-MTA, From, Message-ID). */
  reportingMta: string;
  now: Date;
}

/** A report is not sent to the null sender (RFC 5321 §6.1), nor about a report. */
export function mayBounce(mail: Pick<MailRecord, "origin" | "smtp">): boolean {
  return mail.smtp.mailFrom !== "" && mail.origin.via !== "dsn";
}

/**
 * Why no report on this mail is ever made (it then becomes a dead letter). Undefined: its sender is
 * told if proven to be the sender (sender-proof.ts).
 */
export function whyUnreported(mail: MailRecord): string | undefined {
  if (!mayBounce(mail)) return "double-bounce";
  return hasFinding(mail) ? "no report is sent on mail with a finding" : undefined;
}

/** The most bytes of the failed mail's header that a report returns. */
const maxReturnedHeader = 64 * 1024;

/**
 * The report of RFC 3464 as canonical raw mail: multipart/report (RFC 6522) of text, fields, and
 * the failed mail's header. The id derives from mail, recipients and reason, so a report that is
 * made again after a crash is the same one.
 */
export function createDsn(request: DsnRequest): { id: string; raw: Buffer } {
  const { mail, failed, reportingMta, now } = request;
  const id = dsnMailId(
    mail._id,
    failed.map((recipient) => recipient.address),
    request.reason,
  );
  const boundary = `=_${id}`;
  const head = [
    `Date: ${dateTime(now)}`,
    `From: Mail Delivery System <MAILER-DAEMON@${printable(reportingMta)}>`,
    `To: <${addressForHeader(mail.smtp.mailFrom)}>`,
    `Subject: Undelivered mail returned to sender`,
    `Message-ID: <${id}@${printable(reportingMta)}>`,
    ...answered(mail),
    // RFC 3834 §5: a program that answers automatically does not answer this.
    `Auto-Submitted: auto-replied`,
    `MIME-Version: 1.0`,
    `Content-Type: multipart/report; report-type=delivery-status;`,
    `\tboundary="${boundary}"`,
    ``,
    `This is a report on undelivered mail in MIME form.`,
  ];
  const parts = [
    part("text/plain; charset=utf-8", Buffer.from(wordsOf(request))),
    encodedPart("message/delivery-status", "7bit", Buffer.from(fieldsOf(request), "latin1")),
    part("text/rfc822-headers", returnedHeader(request.original)),
  ];
  const delimiter = Buffer.from(`\r\n--${boundary}\r\n`);
  return {
    id,
    raw: Buffer.concat([
      Buffer.from(head.join("\r\n") + "\r\n", "latin1"),
      ...parts.flatMap((bytes) => [delimiter, bytes]),
      Buffer.from(`\r\n--${boundary}--\r\n`),
    ]),
  };
}

/**
 * Threads the report with the mail that it is about, if that mail's Message-ID is fit to be
 * repeated.
 */
function answered(mail: MailRecord): string[] {
  const messageId = mail.header?.messageId;
  if (messageId === undefined || !/^<[\x21-\x3b\x3d\x3f-\x7e]{1,900}>$/.test(messageId)) return [];
  return [`In-Reply-To: ${messageId}`, `References: ${messageId}`];
}

/** The first part: text for a person. */
function wordsOf(request: DsnRequest): string {
  const { mail, failed, reportingMta } = request;
  const each = failed.map(
    ({ address, status, reply, remoteMta }) =>
      `<${address.replace(/\s+/g, " ")}>: ${status}${remoteMta === undefined ? "" : `, ${remoteMta} said`}` +
      (reply === undefined
        ? ""
        : reply
            .split(/\r?\n/)
            .map((line) => `\r\n    ${oneLine(line)}`)
            .join("")),
  );
  return [
    `This is the mail system at ${reportingMta}.`,
    ``,
    `Your mail could not be delivered to the recipients below: ${oneLine(request.reason)}.`,
    `It is not tried again. The header of your mail is returned at the end of this report.`,
    ``,
    ...each,
    ``,
    `Reference: ${mail._id}`,
    ``,
  ].join("\r\n");
}

/**
 * The second part, RFC 3464 §2: fields about the mail, then a group for each recipient. It must be
 * 7bit (§2.1), so every field is printable US-ASCII and folded, by force if a word is too long.
 */
function fieldsOf(request: DsnRequest): string {
  const { mail, failed, reportingMta, now } = request;
  const perMail = [
    field("Reporting-MTA", `dns; ${printable(reportingMta)}`),
    field("X-RadicalSpam-Mail", printable(mail._id)),
    field("Arrival-Date", dateTime(mail.receivedAt)),
  ];
  const perRecipient = failed.map((recipient) => {
    const { address, status, remoteMta, reply, lastAttemptAt = now } = recipient;
    const type = diagnosticType(recipient);
    return [
      field("Final-Recipient", deliveryStatusAddress(address)),
      field("Action", "failed"),
      field("Status", status),
      ...(remoteMta === undefined ? [] : [field("Remote-MTA", `dns; ${printable(remoteMta)}`)]),
      ...(reply === undefined ? [] : [field("Diagnostic-Code", `${type}; ${printable(reply)}`)]),
      field("Last-Attempt-Date", dateTime(lastAttemptAt)),
    ].join("");
  });
  return [perMail.join(""), ...perRecipient].join("\r\n");
}

function field(name: string, body: string): string {
  return foldBytes(name, body).toString("latin1");
}

/** RFC 3464 §2.3.6: `smtp` is for what an SMTP server said. */
function diagnosticType({ remoteMta }: FailedRecipient): string {
  return remoteMta === undefined ? "X-RadicalSpam" : "smtp";
}

/** The third part: as many whole fields as fit. */
function returnedHeader(original: Buffer): Buffer {
  let end = 0;
  for (const field of headerFields(original)) {
    if (field.end > maxReturnedHeader) break;
    end = field.end;
  }
  return original.subarray(0, end);
}

/** One MIME part, in quoted-printable if its content is not legal 7-bit mail (RFC 6522 §4). */
function part(contentType: string, content: Buffer): Buffer {
  if (isSevenBit(content)) return encodedPart(contentType, "7bit", content);
  const quoted = quotedPrintable.wrap(quotedPrintable.encode(content));
  return encodedPart(contentType, "quoted-printable", Buffer.from(quoted));
}

function encodedPart(contentType: string, encoding: string, body: Buffer): Buffer {
  const head = `Content-Type: ${contentType}\r\nContent-Transfer-Encoding: ${encoding}\r\n\r\n`;
  return Buffer.concat([Buffer.from(head), body]);
}

function isSevenBit(content: Buffer): boolean {
  const text = content.toString("latin1");
  return /^[\x01-\x7f]*$/.test(text) && !/[^\n]{999}/.test(text);
}
