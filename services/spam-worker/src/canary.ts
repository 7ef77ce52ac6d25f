/** In parts: this file must not be spam itself. https://spamassassin.apache.org/gtube/ */
export function gtube(): string {
  const parts = ["XJS*C4JDBQADN1.NSBN3*2IDNEN*", "GTUBE-STANDARD-ANTI-UBE", "-TEST-EMAIL*C.34X"];
  return parts.join("");
}

/** A mail of ours to ourselves with this text. */
export function canaryMail(now: Date, text: string): Buffer {
  const date = now.toUTCString().replace("GMT", "+0000");
  const lines = [
    "From: Postmaster <postmaster@example.com>",
    "To: Postmaster <postmaster@example.com>",
    "Subject: Health check of the spam filter",
    `Date: ${date}`,
    `Message-ID: <canary.${now.getTime().toString(36)}@example.com>`,
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=us-ascii",
    "",
    "This mail checks that the spam filter works. Nobody will read it.",
    "",
    text,
    "",
  ];
  return Buffer.from(lines.join("\r\n"));
}
