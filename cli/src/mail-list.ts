import type { MailRecord, Recipient } from "@rs-agent/shared/mail/record.ts";
import { blockingFindings } from "./interventions.ts";
import { isUnread } from "@rs-agent/shared/mail/stub.ts";
import { indented, printable, width } from "./terminal.ts";
import { instant } from "./times.ts";
import { concernedIn } from "@rs-agent/shared/life/interventions.ts";

/** What was asked for: it decides what is shown of each mail. */
export interface Asked {
  /** The recipient that was looked for; shown first. */
  to?: string;
  limit: number;
}

/**
 * Mails for a person, two lines or more each: id, time and state; who wrote to whom; the subject; and
 * why the mail is where it is, uncut, because a release must name it.
 */
export function mailList(mails: readonly MailRecord[], asked: Asked): string {
  return listOf(mails, asked, (mail) => [
    `${instant(mail.receivedAt)}  ${mail.state}`,
    correspondents(mail, asked.to),
    subjectOf(mail),
    whyOf(mail),
  ]);
}

function subjectOf({ header }: MailRecord): string {
  const { subject = "" } = header ?? {};
  return subject === "" ? "" : `“${printable(subject)}”`;
}

/**
 * Mails whose last attempt has an unknown outcome: id, since when and at which hop; who wrote to
 * whom, for the recipients concerned; and the last words heard.
 */
export function unknownList(mails: readonly MailRecord[], asked: Asked): string {
  return listOf(mails, asked, (mail) => {
    const concerned = concernedIn(mail);
    const { at, connection } = mail.unknown ?? {};
    return [
      `since ${at === undefined ? "" : instant(at)}  ${printable(connection ?? "")}`,
      `${senderOf(mail)} → ${recipientsOf(concerned, asked.to)}`,
      concerned.find(({ reply }) => reply !== undefined)?.reply ?? whyOf(mail),
    ];
  });
}

/** Each mail's id with what follows on its line, then further lines if there is more to say. */
function listOf(
  mails: readonly MailRecord[],
  { limit }: Asked,
  linesOf: (mail: MailRecord) => [head: string, ...lines: string[]],
): string {
  const idWidth = Math.max(0, ...mails.map(({ _id }) => printable(_id).length));
  const shown = mails.map((mail) => {
    const [head, ...lines] = linesOf(mail);
    const first = `${printable(mail._id).padEnd(idWidth)}  ${head}`;
    const own = lines.filter((line) => line !== "").map((line) => indented(line));
    return [first.length > width ? first.slice(0, width - 1) + "…" : first, ...own].join("\n");
  });
  const isCut = mails.length >= limit;
  const hint = `the newest ${String(limit)}; there may be more: --limit`;
  return [...shown, ...(isCut ? [hint] : [])].join("\n");
}

function senderOf({ smtp }: MailRecord): string {
  return smtp.mailFrom === "" ? "<>" : smtp.mailFrom;
}

/** Who wrote to whom; of a record that nobody has read this is not known. */
function correspondents(mail: MailRecord, to: string | undefined): string {
  if (isUnread(mail)) return `record of source ${mail.origin.name}`;
  return `${senderOf(mail)} → ${recipientsOf(mail.recipients, to)}`;
}

function recipientsOf(recipients: readonly Recipient[], to: string | undefined): string {
  const addresses = recipients.map(({ address }) => address);
  const wanted = addresses.find((address) => address.toLowerCase() === to?.toLowerCase());
  const first = wanted ?? addresses[0];
  if (first === undefined) return "nobody";
  const more = addresses.length - 1;
  return more === 0 ? first : `${first} and ${String(more)} more`;
}

function whyOf(mail: MailRecord): string {
  if (mail.state === "quarantined") {
    const findings = blockingFindings(mail, mail.finalAt ?? mail.receivedAt).map(
      ({ finding }) => finding,
    );
    if (findings.length > 0) return findings.join(" and ");
  }
  return mail.reason?.split("\n")[0] ?? "";
}
