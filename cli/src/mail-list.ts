import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { blockingFindings } from "./interventions.ts";
import { indented, instant, printable } from "./terminal.ts";

/** What was asked for: it decides what is shown of each mail. */
export interface Asked {
  /** The recipient that is looked for stands first. */
  to?: string;
  limit: number;
}

/**
 * Mails for a person, two lines or more each: id, time and state; who wrote to whom; and why it is
 * where it is, whole, since a release names it.
 */
export function mailList(mails: readonly MailRecord[], { to, limit }: Asked): string {
  const idWidth = Math.max(0, ...mails.map(({ _id }) => printable(_id).length));
  const shown = mails.map((mail) => {
    const first = [printable(mail._id).padEnd(idWidth), instant(mail.receivedAt), mail.state];
    const why = whyOf(mail);
    return [
      first.join("  "),
      indented(`${senderOf(mail)} → ${recipientsOf(mail, to)}`),
      ...(why === "" ? [] : [indented(why)]),
    ].join("\n");
  });
  const isCut = mails.length >= limit;
  const hint = `the newest ${String(limit)}; there may be more: --limit`;
  return [...shown, ...(isCut ? [hint] : [])].join("\n");
}

function senderOf({ smtp }: MailRecord): string {
  return smtp.mailFrom === "" ? "<>" : smtp.mailFrom;
}

function recipientsOf({ recipients }: MailRecord, to: string | undefined): string {
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
