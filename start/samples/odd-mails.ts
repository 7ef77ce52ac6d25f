import { hostname } from "node:os";
import { crlf, multipart, textPart } from "@rs-agent/kit/mails/mime.ts";
import { people, sample, type Sample } from "./sample.ts";

/** Unusual mail that must arrive all the same. */
export function oddMails(now: Date): Sample[] {
  return [bounce, forgedHeaders, brokenMime].map((make) => make(now));
}

/** A delivery status notification from another system (RFC 3464). */
const bounce = (now: Date): Sample => {
  const report = textPart(
    [
      "Reporting-MTA: dns; mx.partner.example",
      "",
      "Final-Recipient: rfc822; jonas.kellre@partner.example",
      "Action: failed",
      "Status: 5.1.1",
      "Diagnostic-Code: smtp; 550 5.1.1 no such user here",
      "",
    ].join("\n"),
    "message/delivery-status",
  );
  const text = textPart(
    "This is the mail system at mx.partner.example.\n\n" +
      "Your mail to jonas.kellre@partner.example could not be delivered:\n" +
      "there is no such user here.\n",
    "text/plain; charset=us-ascii",
  );
  const header = textPart(
    [
      `From: Anna Berg <${people.anna}>`,
      "To: jonas.kellre@partner.example",
      "Subject: Minutes of Tuesday",
      "Message-ID: <minutes@northwind.example>",
      "",
    ].join("\n"),
    "text/rfc822-headers",
  );
  return sample(
    {
      name: "bounce",
      note: "a bounce of another system: it has the null sender",
      top: [["Auto-Submitted", "auto-replied"]],
      from: "Mail Delivery System <mailer-daemon@mx.partner.example>",
      to: people.anna,
      subject: "Undelivered Mail Returned to Sender",
      envelope: { mailFrom: "" },
      content: multipart("multipart/report; report-type=delivery-status", "=_report_1", [
        text,
        report,
        header,
      ]),
    },
    now,
  );
};

const forgedHeaders = (now: Date): Sample =>
  sample(
    {
      name: "forged-headers",
      note: "a stranger claims that the mail was checked already: the claims are stripped",
      top: [
        ["X-Spam-Flag", "NO"],
        ["X-Spam-Status", "No, score=-100.0 required=5.0 tests=ALL_TRUSTED\n autolearn=ham"],
        ["X-Spam-Level", ""],
        ["X-Virus-Scanned", "by a scanner that does not exist"],
        ["X-Virus-Status", "Clean"],
        ["X-RadicalSpam", "forged"],
        // The name under which our enricher would write its own results (ENRICH_AUTHSERV_ID).
        [
          "Authentication-Results",
          `${hostname()};\n dkim=pass header.d=bank.example;\n spf=pass smtp.mailfrom=bank.example`,
        ],
      ],
      subject: "Your account statement",
      content: textPart(
        "Dear Ms Berg,\n\nyour statement for this month is ready at our branch.\n\nJonas Keller\n",
      ),
    },
    now,
  );

/**
 * The outer boundary never ends, a part has two Content-Types, its base64 has foreign characters
 * and no padding, and a nested multipart uses a boundary that its header does not name.
 */
const brokenMime = (now: Date): Sample =>
  sample(
    {
      name: "broken-mime",
      note: "a MIME structure that no parser can make whole",
      subject: "Holiday pictures",
      content: {
        fields: [["Content-Type", 'multipart/mixed;\n boundary="=_broken_1"']],
        body: crlf(
          [
            "--=_broken_1",
            "Content-Type: text/plain; charset=us-ascii",
            "",
            "Dear Anna, here are the pictures.",
            "--=_broken_1",
            "Content-Type: image/jpeg",
            "Content-Type: application/octet-stream",
            "Content-Transfer-Encoding: base64",
            'Content-Disposition: attachment; filename="picture.jpg',
            "",
            "/9j/4AAQSkZJRgABAQ$$EASABIAAD#!2wBDAAMCAgMCAgMDAwMEAwMEBQgFBQQEBQoHBwYI",
            "--=_broken_1",
            'Content-Type: multipart/alternative; boundary="=_broken_2"',
            "",
            "--=_broken_3",
            "Content-Type: text/html",
            "",
            "<p>More of them soon.",
            "--=_broken_3--",
            "This line belongs to nothing.",
            "",
          ].join("\n"),
        ),
      },
    },
    now,
  );
