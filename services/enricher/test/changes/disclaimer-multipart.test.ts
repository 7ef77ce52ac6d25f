import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalize } from "@rs-agent/shared/mail/canonical.ts";
import { mailOf } from "../mail-to-enrich.ts";
import { plain, umlaut, typed, disclaimed, expectUntouched } from "./disclaimed.ts";

describe("disclaimer in multipart mail", () => {
  const html = [
    "--r",
    "Content-Type: text/html",
    "",
    "<body>Hi</body>",
    "--r",
    "Content-Type: image/png",
    "Content-Transfer-Encoding: base64",
    "",
    "AAAA",
    "--r--",
  ];
  const letter = [
    "--a",
    "Content-Type: text/plain",
    "",
    "Hi",
    "--a",
    "Content-Type: multipart/related; boundary=r",
    "",
    ...html,
    "--a--",
  ];
  const attachments = [
    "--m",
    'Content-Type: text/plain; name="a.txt"',
    "Content-Disposition: attachment",
    "",
    "attached",
    "--m",
    "Content-Type: message/rfc822",
    "",
    "Subject: inner",
    "",
    "inner",
    "--m--",
    "epilogue",
  ];

  it("goes into each form of the letter and nowhere else", async () => {
    const raw = typed(
      "Content-Type: multipart/mixed; boundary=m",
      "",
      "preamble",
      "--m",
      "Content-Type: multipart/alternative; boundary=a",
      "",
      ...letter,
      ...attachments,
    );
    const { text } = await disclaimed(raw, umlaut);
    expect(text).toBe(
      raw
        .toString("latin1")
        .replace(
          "Content-Type: text/plain\r\n\r\nHi",
          "Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nHi\r\n\r\nGr=C3=BC=C3=9Fe\r\n",
        )
        .replace("Hi</body>", "Hi\r\n<b>Gr&#252;&#223;e</b>\r\n</body>"),
    );
  });

  it("skips attachments on its way to the letter", async () => {
    const raw = typed(
      "Content-Type: multipart/mixed; boundary=m",
      "",
      "--m",
      "Content-Disposition: attachment",
      "",
      "not me",
      "--m",
      "",
      "but me",
      "--m--",
    );
    const { text } = await disclaimed(raw);
    expect(text).toContain("not me\r\n--m\r\n\r\nbut me\r\n\r\n-- \r\nTenant & Co\r\n\r\n--m--");
  });

  it.each([
    [
      "multipart/signed",
      [
        "Content-Type: multipart/signed; boundary=s; protocol=x",
        "",
        "--s",
        "",
        "signed",
        "--s",
        "Content-Type: application/pgp-signature",
        "",
        "sig",
        "--s--",
      ],
      "its content is multipart/signed",
    ],
    [
      "signed mail inside a list's wrapper",
      [
        "Content-Type: multipart/mixed; boundary=m",
        "",
        "--m",
        "Content-Type: multipart/signed; boundary=s",
        "",
        "--s",
        "",
        "signed",
        "--s--",
        "--m",
        "",
        "list footer",
        "--m--",
      ],
      "its content is multipart/signed",
    ],
    [
      "multipart/encrypted",
      ["Content-Type: multipart/encrypted; boundary=s", "", "--s", "", "x", "--s--"],
      "its content is multipart/encrypted",
    ],
    [
      "S/MIME",
      [
        "Content-Type: application/pkcs7-mime; smime-type=enveloped-data",
        "Content-Transfer-Encoding: base64",
        "",
        "AAAA",
      ],
      "its content is application/pkcs7-mime",
    ],
    [
      "PGP in the text",
      [
        "Content-Type: text/plain",
        "",
        "-----BEGIN PGP SIGNED MESSAGE-----",
        "Hash: SHA256",
        "",
        "Hi",
      ],
      "its text is signed or encrypted by PGP",
    ],
    [
      "PGP in base64",
      [
        "Content-Type: text/plain",
        "Content-Transfer-Encoding: base64",
        "",
        Buffer.from("-----BEGIN PGP MESSAGE-----\r\n").toString("base64"),
      ],
      "its text is signed or encrypted by PGP",
    ],
    [
      "a delivery report",
      ["Content-Type: multipart/report; boundary=r", "", "--r", "", "Failed", "--r--"],
      "its content is multipart/report",
    ],
    [
      "an image alone",
      ["Content-Type: image/png", "Content-Transfer-Encoding: base64", "", "AAAA"],
      "it has no text part",
    ],
    [
      "a multipart without boundary",
      ["Content-Type: multipart/mixed", "", "text"],
      "it has no text part",
    ],
    [
      "a charset with states",
      ["Content-Type: text/plain; charset=iso-2022-jp", "", "Hi"],
      "its charset iso-2022-jp cannot be extended",
    ],
    [
      "UTF-16",
      [
        "Content-Type: text/plain; charset=utf-16le",
        "Content-Transfer-Encoding: base64",
        "",
        "AAAA",
      ],
      "its charset utf-16le cannot be extended",
    ],
    [
      "broken base64",
      ["Content-Type: text/plain", "Content-Transfer-Encoding: base64", "", "SGk=SGk="],
      "its text is not in the encoding base64",
    ],
    [
      "an unknown encoding",
      ["Content-Type: text/plain", "Content-Transfer-Encoding: x-uuencode", "", "x"],
      "its text is not in the encoding x-uuencode",
    ],
  ])("never goes into %s", async (_, lines, note) => {
    await expectUntouched(typed(...lines), note);
  });

  it("is skipped if it would lose 8-bit text whose charset nobody knows", async () => {
    await expectUntouched(
      mailOf("Subject: x", "", "f\xfcr"),
      "its text is not in its charset us-ascii",
      umlaut,
    );
  });

  it("is skipped if the mail would grow too much", async () => {
    const text = `${"\xfc".repeat(500)}\r\n`.repeat(1_100);
    const raw = typed("Content-Type: text/plain; charset=iso-8859-1", "", text);
    await expectUntouched(raw, "the mail would grow too much", umlaut);
  });

  it("is skipped in a mail of more parts than a letter has", async () => {
    const parts = Array.from({ length: 150 }, () => ["--m", "", "x"]).flat();
    await expectUntouched(
      typed("Content-Type: multipart/mixed; boundary=m", "", ...parts, "--m--"),
      "it has more than 100 parts or a part header that is too large",
    );
  });

  it("keeps every byte of broken MIME that it does not add (property)", async () => {
    const line = fc.oneof(
      {
        weight: 4,
        arbitrary: fc.constantFrom(
          "--m",
          "--m--",
          "--a",
          "--a--",
          "",
          "text",
          "Content-Type: text/plain",
          "Content-Type: multipart/alternative; boundary=a",
          "Content-Type: text/html; charset=utf-8",
          " fold",
          "Content-Disposition: attachment",
          "Content-Transfer-Encoding: quoted-printable",
          "=",
          "a=20 ",
          "--m \t",
        ),
      },
      fc.uint8Array({ maxLength: 12 }).map((data) => Buffer.from(data).toString("latin1")),
    );
    const added = "\r\n-- \r\nTenant & Co\r\n";
    await fc.assert(
      fc.asyncProperty(fc.array(line, { maxLength: 25 }), async (lines) => {
        const raw = canonicalize(
          Buffer.from(
            ["Subject: x", "Content-Type: multipart/mixed; boundary=m", ...lines].join("\r\n"),
            "latin1",
          ),
        );
        const { text, notes } = await disclaimed(raw, {
          ...plain,
          html: "-- \r\nTenant & Co",
        });
        // In quoted-printable, a blank at the end of a line is encoded.
        const pieces = text.replaceAll("--=20\r\n", "-- \r\n").split(added.slice(2, -2));
        expect(pieces.length > 1 || notes.length > 0).toBe(true);
        const without = pieces.join("").replace(/[\r\n]+/g, "");
        expect(without).toBe(raw.toString("latin1").replace(/[\r\n]+/g, ""));
      }),
      { numRuns: 500 },
    );
  });
});
