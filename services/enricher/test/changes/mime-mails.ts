import fc from "fast-check";

/** A mail, and those of its parts (header and body) that nobody may change. */
export interface MimeMail {
  raw: Buffer;
  untouchable: Buffer[];
}

interface Part {
  lines: string[];
  untouchable: string[];
}

const lines = (...of: string[]): Part => ({ lines: of, untouchable: [] });
const guarded = (...of: string[]): Part => ({ lines: of, untouchable: [of.join("\r\n")] });
const base64 = (text: string, charset: BufferEncoding) =>
  Buffer.from(text, charset).toString("base64");

const textPart = fc
  .record({
    type: fc.constantFrom(
      "text/plain",
      'text/plain; name="letter.txt"',
      "text/plain; format=flowed",
    ),
    words: fc.constantFrom("Dear Bob", "J\u00f6rg =3D", "-- \r\nAnn", ""),
    form: fc.constantFrom("latin", "utf8", "base64", "none", "japanese"),
  })
  .map(({ type, words, form }) => {
    switch (form) {
      case "latin":
        return lines(`Content-Type: ${type}; (a \\) "charset=x") charset=iso-8859-1`, "", words);
      case "utf8": {
        const encoded = words.replace(/=/g, "=3D").replace(/\u00f6/g, "=C3=B6");
        const encoding = "Content-Transfer-Encoding: quoted-printable";
        return lines(`Content-Type: ${type}; charset=UTF-8`, encoding, "", encoded);
      }
      case "base64":
        return lines(
          `Content-Type: ${type}; charset=iso-8859-1`,
          "Content-Transfer-Encoding: base64",
          "",
          base64(words, "latin1"),
        );
      case "japanese":
        return lines(`Content-Type: ${type}; charset=iso-2022-jp`, "", "\x1b$BF|\x1b(B");
      default:
        return lines("", words.replace(/\u00f6/g, "oe"));
    }
  });

const htmlPart = fc
  .record({
    before: fc.constantFrom(
      "",
      "<html><head><title></body></title></head><body class='</body>'>",
      "<!-- <body> -->",
    ),
    after: fc.constantFrom(
      "",
      "</body></html>",
      "</BODY\n></html><!-- </body> -->",
      "<script>'</body>'</script>",
      "</html>",
    ),
    disposition: fc.constantFrom([], ["Content-Disposition: inline"]),
  })
  .map(({ before, after, disposition }) =>
    lines(
      "Content-Type: text/html; charset=utf-8",
      ...disposition,
      "",
      `${before}<p>Dear Bob${after}`,
    ),
  );

const otherPart = fc.constantFrom(
  guarded(
    "Content-Type: image/png",
    "Content-Transfer-Encoding: base64",
    "Content-ID: <i@x>",
    "",
    "AAAA",
  ),
  guarded("Content-Type: text/calendar; method=REQUEST", "", "BEGIN:VCALENDAR", "END:VCALENDAR"),
  guarded("Content-Type: text/plain", "Content-Disposition: attachment", "", "attached"),
  guarded(
    "Content-Type: text/html; name=a.html",
    'Content-Disposition: attachment; filename="a.html"',
    "",
    "<body>a</body>",
  ),
  guarded("Content-Type: message/rfc822", "", "Subject: inner", "", "inner  ", ""),
  guarded(
    "Content-Type: multipart/digest; boundary=d",
    "",
    "--d",
    "",
    "Subject: entry",
    "",
    "entry",
    "--d--",
  ),
);

/** Signed content and reports: if one comes before any text, the mail stays as it is. */
const protectedPart = fc.constantFrom(
  guarded(
    "Content-Type: multipart/signed; boundary=s",
    "",
    "--s",
    "",
    "signed  ",
    "--s",
    "Content-Type: application/pgp-signature",
    "",
    "sig",
    "--s--",
  ),
  guarded(
    "Content-Type: multipart/report; boundary=r",
    "",
    "--r",
    "",
    "Failed",
    "--r",
    "Content-Type: message/delivery-status",
    "",
    "Status: 5.0.0",
    "",
    "--r--",
  ),
);

function multipart(type: string, children: Part[], boundary: string): Part {
  return {
    lines: [
      `Content-Type: multipart/${type}; boundary="${boundary}"`,
      "",
      "preamble",
      ...children.flatMap((child) => [`--${boundary}`, ...child.lines]),
      `--${boundary}--`,
      "epilogue",
    ],
    untouchable: children.flatMap(({ untouchable }) => untouchable),
  };
}

const letter = fc.oneof(textPart, htmlPart, otherPart);
const alternative = fc
  .array(letter, { minLength: 1, maxLength: 3 })
  .map((children) => multipart("alternative", children, "a:b c_1"));
const related = fc
  .tuple(
    fc.constantFrom("related", 'related; start="<i@x>"'),
    fc.oneof(htmlPart, alternative),
    fc.array(otherPart, { maxLength: 2 }),
  )
  .map(([type, root, others]) => multipart(type, [root, ...others], "rel=1"));
const mixed = fc
  .array(
    fc.oneof(
      { weight: 5, arbitrary: fc.oneof(letter, alternative, related) },
      { weight: 1, arbitrary: protectedPart },
    ),
    { minLength: 1, maxLength: 4 },
  )
  .map((children) => multipart("mixed", children, "m"));

/** Well-formed mails of all the kinds that a disclaimer must tell apart. */
export const anyMail: fc.Arbitrary<MimeMail> = fc
  .oneof(textPart, htmlPart, otherPart, protectedPart, alternative, related, {
    weight: 5,
    arbitrary: mixed,
  })
  .map((root) => {
    const header = ["From: Ann <ann@acme.example>", "MIME-Version: 1.0"];
    const text = `${[...header, ...root.lines].join("\r\n")}\r\n`;
    return {
      raw: Buffer.from(text.replace(/\r?\n/g, "\r\n"), "latin1"),
      untouchable: root.untouchable.map((bytes) => Buffer.from(bytes, "latin1")),
    };
  });
