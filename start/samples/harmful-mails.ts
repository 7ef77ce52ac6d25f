import { eicar } from "@rs-agent/av-worker/eicar.ts";
import { attachment, multipart, textPart, type Entity } from "@rs-agent/kit/mails/mime.ts";
import { people, sample, type Sample } from "./sample.ts";
import { zip } from "@rs-agent/av-worker/zip.ts";
import { encryptedZip } from "@rs-agent/kit/mails/zip.ts";

/**
 * Mail that must not get through, or not unmarked: test viruses, test spam, what cannot be read.
 */
export function harmfulMails(now: Date): Sample[] {
  return [
    eicarAttachment,
    eicarInZip,
    eicarInNestedMail,
    gtube,
    encryptedAttachment,
    twoPolicies,
  ].map((make) => make(now));
}

const invoiceText = textPart(
  "Dear Anna,\n\nplease find the invoice attached.\n\nKind regards\nJonas Keller\n",
);

const eicarAttachment = (now: Date): Sample =>
  sample(
    {
      name: "eicar-attachment",
      note: "the EICAR test virus as an attachment",
      subject: "Invoice 2027-119",
      content: multipart("multipart/mixed", "=_mixed_2", [
        invoiceText,
        attachment("application/octet-stream", "invoice.com", eicar),
      ]),
      outcome: "quarantined",
    },
    now,
  );

const eicarInZip = (now: Date): Sample =>
  sample(
    {
      name: "eicar-zip",
      note: "EICAR in a zip archive, in base64",
      subject: "Invoice 2027-120",
      content: multipart("multipart/mixed", "=_mixed_3", [
        invoiceText,
        attachment("application/zip", "invoice.zip", zip([{ name: "invoice.com", content: eicar }])),
      ]),
      outcome: "quarantined",
    },
    now,
  );

const eicarInNestedMail = (now: Date): Sample => {
  const inner = sample(
    {
      name: "eicar-inner",
      note: "the mail that is forwarded",
      subject: "Invoice 2027-121",
      content: multipart("multipart/mixed", "=_mixed_5", [
        invoiceText,
        attachment("application/octet-stream", "invoice.com", eicar),
      ]),
    },
    now,
  );
  const forwarded: Entity = {
    fields: [
      ["Content-Type", "message/rfc822"],
      ["Content-Disposition", "attachment"],
    ],
    body: inner.raw,
  };
  return sample(
    {
      name: "eicar-nested-mail",
      note: "EICAR attached to a mail that is forwarded as message/rfc822",
      subject: "Fwd: Invoice 2027-121",
      content: multipart("multipart/mixed", "=_mixed_4", [
        textPart("Dear Anna,\n\nis this one for you?\n\nJonas\n"),
        forwarded,
      ]),
      outcome: "quarantined",
    },
    now,
  );
};

/** SpamAssassin's GTUBE test string, in parts, so that this file is not spam itself. */
const gtubeText = ["XJS*C4JDBQADN1.NSBN3*2IDNEN*", "GTUBE-STANDARD-ANTI-UBE", "-TEST-EMAIL*C.34X"];

const spamText = textPart(
  `Dear winner,\n\nyou have been chosen. Answer within 24 hours.\n\n${gtubeText.join("")}\n\n` +
    "The prize office\n",
  "text/plain; charset=us-ascii",
);

const gtube = (now: Date): Sample =>
  sample(
    {
      name: "gtube",
      note: "the GTUBE test spam",
      from: `The Prize Office <${people.winner}>`,
      subject: "You have been chosen",
      envelope: { mailFrom: people.winner },
      content: spamText,
      outcome: "quarantined",
    },
    now,
  );

const encryptedAttachment = (now: Date): Sample => {
  const files = [{ name: "salaries.txt", content: Buffer.from("Nobody can read this.\r\n") }];
  const content = encryptedZip(files, "swordfish", Buffer.alloc(12, "rs-agent"));
  return sample(
    {
      name: "encrypted-zip",
      note: "a zip archive with a password: nobody can look into it",
      subject: "Confidential",
      content: multipart("multipart/mixed", "=_mixed_6", [
        textPart("Dear Anna,\n\nthe password comes by phone.\n\nKind regards\nJonas Keller\n"),
        attachment("application/zip", "confidential.zip", content),
      ]),
      outcome: "quarantined",
    },
    now,
  );
};

const twoPolicies = (now: Date): Sample =>
  sample(
    {
      name: "two-policies",
      note: "spam for two recipients: one's policy quarantines it, the other's tags and delivers it",
      from: `The Prize Office <${people.winner}>`,
      to: `Anna Berg <${people.anna}>, Desk <${people.desk}>`,
      subject: "You have been chosen twice",
      envelope: { mailFrom: people.winner, rcptTo: [people.anna, people.desk] },
      content: spamText,
      outcome: { [people.anna]: "quarantined", [people.desk]: "sent" },
    },
    now,
  );
