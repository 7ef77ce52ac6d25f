import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { isUnread } from "@rs-agent/shared/mail/stub.ts";
import { rsAgent } from "./called-as.ts";

/**
 * Whether a dead letter holds something that never was a mail: a document among the mails that is
 * no record, or a source's record, kept as JSON in place of a body. Taking it up again would send
 * that.
 */
export function isNoMail(mail: MailRecord): boolean {
  return mail.malformed !== undefined || isSourceRecord(mail);
}

/**
 * A record that was adopted has a header, and says so in its history: its body is a mail. One that
 * was never read is read again.
 */
function isSourceRecord(mail: MailRecord): boolean {
  const { origin, state, header, plan, history } = mail;
  return (
    origin.via === "source" &&
    state === "dead" &&
    !isUnread(mail) &&
    header === undefined &&
    plan === undefined &&
    !history.some(({ event }) => event === "adopted")
  );
}

/** What a person can do about it, as a clause. */
export function wayOutOf(mail: MailRecord): string {
  const then = `then ${rsAgent} dead drop ${mail._id}`;
  if (!isSourceRecord(mail)) return `put the record right and in again, ${then}`;
  return `put the record right and into source ${mail.origin.name} again under a new _id, ${then}`;
}
