import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalize } from "@rs-agent/shared/mail/canonical.ts";
import type { Change } from "@rs-agent/shared/mail/task-settings.ts";
import { decodeQuotedPrintable } from "../../src/mime/quoted-printable.ts";
import { enriched, mailOf } from "../mail-to-enrich.ts";

const plain: Change = { kind: "disclaimer", text: "-- \nTenant & Co" };
const umlaut: Change = { kind: "disclaimer", text: "Grüße", html: "<b>Grüße</b>" };

const typed = (...lines: string[]) => mailOf("From: a@b", "MIME-Version: 1.0", ...lines);

/** What becomes of a mail, and what the notes say. */
async function disclaimed(raw: Buffer, change: Change = plain) {
  const { text, bodyChanged, notes, restOffset } = await enriched(raw, [change]);
  if (bodyChanged) expect(restOffset).toBe(0);
  return { text, bodyChanged, notes };
}

async function expectUntouched(raw: Buffer, note: string, change: Change = plain): Promise<void> {
  const { text, bodyChanged, notes } = await disclaimed(raw, change);
  expect(text).toBe(raw.toString("latin1"));
  expect(bodyChanged).toBe(false);
  expect(notes).toEqual([`disclaimer skipped: ${note}`]);
}

describe("disclaimer in text", () => {
  it("goes to the end of plain text and changes no other byte", async () => {
    const raw = mailOf("Subject: x", "", "Dear Bob,  ", "\ttab");
    const { text, bodyChanged } = await disclaimed(raw);
    expect(text).toBe(`${raw.toString("latin1")}\r\n-- \r\nTenant & Co\r\n`);
    expect(bodyChanged).toBe(true);
  });

  it.each([
    ["an empty body", mailOf("Subject: x", "", "")],
    ["no empty line", mailOf("Subject: x")],
  ])("makes a body of %s", async (_, raw) => {
    expect((await disclaimed(raw)).text).toBe("Subject: x\r\n\r\n-- \r\nTenant & Co\r\n");
  });

  it("is written in the part's charset where that has its characters", async () => {
    const raw = typed(
      "Content-Type: text/plain; charset=iso-8859-1",
      "Content-Transfer-Encoding: 8bit",
      "",
      "f\xfcr",
    );
    const { text } = await disclaimed(raw, umlaut);
    expect(text).toBe(`${raw.toString("latin1")}\r\nGr\xfc\xdfe\r\n`);
  });

  it("keeps quoted-printable text as it is encoded", async () => {
    const raw = typed(
      "Content-Type: text/plain; charset=utf-8",
      "Content-Transfer-Encoding: Quoted-Printable",
      "",
      "f=c3=bcr a=",
      "ll =3D",
      "",
    );
    const { text } = await disclaimed(raw, umlaut);
    expect(text).toBe(`${raw.toString("latin1")}\r\nGr=C3=BC=C3=9Fe\r\n`);
  });

  it("decodes and encodes base64 anew", async () => {
    const body = Buffer.from("für alle\r\n").toString("base64");
    const raw = typed(
      "Content-Type: text/plain; charset=utf-8",
      "Content-Transfer-Encoding: base64",
      "",
      body,
    );
    const { text } = await disclaimed(raw, umlaut);
    const encoded = text.slice(text.indexOf("\r\n\r\n"));
    expect(Buffer.from(encoded, "base64").toString()).toBe("für alle\r\n\r\nGrüße\r\n");
  });

  it.each([
    ["no charset at all", mailOf("Subject: x", "", "plain = text "), "plain =3D text=20"],
    [
      "ISO-8859-1 and a sign that it lacks",
      typed("Content-Type: text/plain;", "\tcharset=ISO-8859-1; x=y", "", "f\xfcr"),
      "f=C3=BCr",
    ],
  ])("makes UTF-8 in quoted-printable of %s", async (_, raw, first) => {
    const { text } = await disclaimed(raw, { kind: "disclaimer", text: "Grüße für 1 €" });
    expect(text).toMatch(/\r\nMIME-Version: 1.0\r\n/);
    expect(text).toMatch(/\r\nContent-Type: text\/plain;.*charset=utf-8/);
    expect(text).toContain("\r\nContent-Transfer-Encoding: quoted-printable\r\n");
    expect(text).toContain(`\r\n\r\n${first}\r\n\r\nGr=C3=BC=C3=9Fe f=C3=BCr 1 =E2=82=AC\r\n`);
  });

  it("makes quoted-printable of 7bit text where the disclaimer has longer lines than SMTP takes", async () => {
    const { text } = await disclaimed(mailOf("Subject: x", "", "Hi"), {
      kind: "disclaimer",
      text: "a ".repeat(700),
    });
    expect(text.split("\r\n").every((line) => line.length <= 76)).toBe(true);
    expect(text).toContain("Content-Transfer-Encoding: quoted-printable");
  });

  it("stuffs lines of format=flowed", async () => {
    const raw = typed("Content-Type: text/plain; format=flowed", "", "Hi");
    const { text } = await disclaimed(raw, { kind: "disclaimer", text: "x \n> quoted\nFrom me" });
    expect(text.endsWith("\r\n\r\nx\r\n > quoted\r\n From me\r\n")).toBe(true);
  });
});

describe("disclaimer in HTML", () => {
  it.each([
    ["before the body's end", "<html><body>Hi</BODY></html>", "<html><body>Hi", "</BODY></html>"],
    ["before the end of HTML", "<html>Hi</html>", "<html>Hi", "</html>"],
    ["at the end", "<p>Hi", "<p>Hi\r\n", ""],
  ])("goes %s, other than ASCII by number", async (_, html, before, after) => {
    const raw = typed("Content-Type: text/html; charset=big5", "", html);
    const { text } = await disclaimed(raw, umlaut);
    const body = text.slice(text.indexOf("\r\n\r\n") + 4);
    expect(body).toBe(
      `${before}\r\n<b>Gr&#252;&#223;e</b>\r\n${after}${after === "" ? "" : "\r\n"}`,
    );
  });

  it("is found in quoted-printable even where the tag is broken over lines", async () => {
    const raw = typed(
      "Content-Type: text/html",
      "Content-Transfer-Encoding: quoted-printable",
      "",
      "<p>=C3=A4</bo=",
      "dy>",
    );
    const { text } = await disclaimed(raw, umlaut);
    expect(text.endsWith("<p>=C3=A4\r\n<b>Gr&#252;&#223;e</b>\r\n</bo=\r\ndy>\r\n")).toBe(true);
  });

  it("is made from the text where policy gives none", async () => {
    const { text } = await disclaimed(typed("Content-Type: text/html", "", "Hi"));
    expect(text).toContain("\r\n<p>-- <br>\r\nTenant &amp; Co</p>\r\n");
  });
});

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

  it("is skipped where it would lose 8-bit text whose charset nobody knows", async () => {
    await expectUntouched(
      mailOf("Subject: x", "", "f\xfcr"),
      "its text is not in its charset us-ascii",
      umlaut,
    );
  });

  it("is skipped where the mail would grow by more than the bus takes", async () => {
    const text = `${"\xfc".repeat(500)}\r\n`.repeat(1_100);
    const raw = typed("Content-Type: text/plain; charset=iso-8859-1", "", text);
    await expectUntouched(raw, "the mail would grow too much", umlaut);
  });

  it("is skipped in a mail of more parts than a letter has", async () => {
    const parts = Array.from({ length: 150 }, () => ["--m", "", "x"]).flat();
    await expectUntouched(
      typed("Content-Type: multipart/mixed; boundary=m", "", ...parts, "--m--"),
      "it has more than 100 parts or a too large part header",
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
        // In quoted-printable a blank at the end of a line is written as such.
        const pieces = text.replaceAll("--=20\r\n", "-- \r\n").split(added.slice(2, -2));
        expect(pieces.length > 1 || notes.length > 0).toBe(true);
        const without = pieces.join("").replace(/[\r\n]+/g, "");
        expect(without).toBe(raw.toString("latin1").replace(/[\r\n]+/g, ""));
      }),
      { numRuns: 500 },
    );
  });
});

describe("quoted-printable", () => {
  it("gives each byte back with the offset that it came from (property)", async () => {
    const { encodeQuotedPrintable } = await import("../../src/mime/quoted-printable.ts");
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (data) => {
        const bytes = canonicalize(Buffer.from(data));
        const encoded = encodeQuotedPrintable(bytes);
        expect(
          encoded
            .toString("latin1")
            .split("\r\n")
            .every((line) => line.length <= 76),
        ).toBe(true);
        expect(/^[\t\r\n\x20-\x7e]*$/.test(encoded.toString("latin1"))).toBe(true);
        const { bytes: decoded, offsets } = decodeQuotedPrintable(encoded);
        expect(decoded.equals(bytes)).toBe(true);
        expect(offsets.length).toBe(decoded.length + 1);
        expect(
          [...offsets].every((offset, at) => at === 0 || offset > (offsets[at - 1] as number)),
        ).toBe(true);
      }),
    );
  });

  it("reads soft breaks, padding and faulty escapes", () => {
    const { bytes } = decodeQuotedPrintable(Buffer.from("a =\t\r\nb=3D=ZZ=4 \t\r\n  c  ="));
    expect(bytes.toString()).toBe("a b==ZZ=4\r\n  c  ");
  });
});
