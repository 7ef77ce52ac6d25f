import { deflateSync, crc32 } from "node:zlib";
import { attachment, base64Part, crlf, multipart, textPart, type Entity } from "@rs-agent/kit/mails/mime.ts";
import { people, sample, type Sample } from "./sample.ts";

/** Everyday mail: all of it is delivered. */
export function ordinaryMails(now: Date): Sample[] {
  return [
    plainText,
    htmlWithInlineImage,
    largeAttachment,
    nonAsciiHeader,
    eightBit,
    emptyBody,
    signed,
    outgoing,
  ].map((make) => make(now));
}

const plainText = (now: Date): Sample =>
  sample(
    {
      name: "plain-text",
      note: "plain text in US-ASCII",
      subject: "Delivery of order 4711",
      content: textPart(
        [
          "Dear Anna,",
          "",
          "the 240 pieces of order 4711 left our warehouse this morning and will be with",
          "you on Thursday. The delivery note is in the first box.",
          "",
          ".A line that begins with a dot is still there when it arrives.",
          "",
          "Kind regards",
          "Jonas Keller",
          "",
        ].join("\n"),
        "text/plain; charset=us-ascii",
      ),
    },
    now,
  );

const htmlWithInlineImage = (now: Date): Sample => {
  const html = [
    "<!DOCTYPE html>",
    '<html><body style="font-family: sans-serif">',
    "<p>Dear Anna,</p>",
    "<p>this is how the new label looks. The blue is the one that you chose last week,",
    "and the type is a little larger than before.</p>",
    '<p><img src="cid:label@partner.example" alt="the label" width="64" height="64"></p>',
    "<p>Kind regards<br>Jonas Keller</p>",
    "</body></html>",
    "",
  ].join("\n");
  const text = [
    "Dear Anna,",
    "",
    "this is how the new label looks. The blue is the one that you chose last week,",
    "and the type is a little larger than before.",
    "",
    "Kind regards",
    "Jonas Keller",
    "",
  ].join("\n");
  const image = base64Part('image/png; name="label.png"', bluePng(64), [
    ["Content-ID", "<label@partner.example>"],
    ["Content-Disposition", 'inline; filename="label.png"'],
  ]);
  const alternative = multipart("multipart/alternative", "=_alternative_1", [
    textPart(text),
    textPart(html, "text/html; charset=utf-8"),
  ]);
  return sample(
    {
      name: "html-inline-image",
      note: "HTML and text, with an image that the HTML shows",
      subject: "The new label",
      content: multipart("multipart/related", "=_related_1", [alternative, image]),
    },
    now,
  );
};

const largeAttachment = (now: Date): Sample =>
  sample(
    {
      name: "attachment-5mb",
      note: "an attachment of 5 MB: too large for spamd, small enough for clamd",
      subject: "Measurements of week 12",
      content: multipart("multipart/mixed", "=_mixed_1", [
        textPart("Dear Anna,\n\nthe raw measurements are attached.\n\nKind regards\nJonas Keller\n"),
        attachment("application/octet-stream", "measurements.bin", noise(5 * 1024 * 1024)),
      ]),
    },
    now,
  );

const nonAsciiHeader = (now: Date): Sample =>
  sample(
    {
      name: "non-ascii-header",
      note: "subject and names in encoded words (RFC 2047)",
      from: `=?utf-8?Q?J=C3=B6rg_M=C3=BCller?= <${people.jonas}>`,
      to: `=?iso-8859-1?Q?Anna_Berg_=28Gesch=E4ftsf=FChrung=29?= <${people.anna}>`,
      subject: `=?utf-8?B?${Buffer.from("Grüße aus Köln – 注文の確認").toString("base64")}?=`,
      content: {
        fields: [
          ["Content-Type", "text/plain; charset=utf-8"],
          ["Content-Transfer-Encoding", "quoted-printable"],
        ],
        body: crlf(
          "Liebe Anna,\n\ndie Best=C3=A4tigung der Bestellung kommt morgen.\n\n" +
            "Viele Gr=C3=BC=C3=9Fe\nJ=C3=B6rg M=C3=BCller\n",
        ),
      },
    },
    now,
  );

const eightBit = (now: Date): Sample =>
  sample(
    {
      name: "eight-bit",
      note: "8-bit content, not encoded for transport (8BITMIME)",
      subject: "Rechnung 2027-118",
      content: textPart(
        "Sehr geehrte Frau Berg,\n\nanbei die Rechnung über 1.280,00 €. Bitte überweisen Sie\n" +
          "den Betrag bis zum Monatsende.\n\nMit freundlichen Grüßen\nJonas Keller\n",
      ),
    },
    now,
  );

const emptyBody = (now: Date): Sample =>
  sample(
    {
      name: "empty-body",
      note: "a header and nothing after it",
      subject: "I am in the meeting room",
      content: { fields: [["Content-Type", "text/plain; charset=us-ascii"]], body: Buffer.alloc(0) },
    },
    now,
  );

/**
 * OpenPGP over MIME (RFC 3156). The signature is genuine, made once with GnuPG over exactly the
 * bytes of `signedPart` with a key that was thrown away: a change of one byte breaks it.
 */
const signed = (now: Date): Sample =>
  sample(
    {
      name: "multipart-signed",
      note: "multipart/signed: the disclaimer must stay out of it",
      direction: "outgoing",
      from: `Anna Berg <${people.anna}>`,
      to: `Jonas Keller <${people.jonas}>`,
      subject: "Minutes of Tuesday",
      envelope: { mailFrom: people.anna, rcptTo: [people.jonas] },
      content: multipart(
        'multipart/signed; micalg=pgp-sha256;\n protocol="application/pgp-signature"',
        "=_signed_1",
        [signedPart, signatureOfSignedPart],
      ),
    },
    now,
  );

const signedPart: Entity = {
  fields: [
    ["Content-Type", "text/plain; charset=utf-8"],
    ["Content-Transfer-Encoding", "quoted-printable"],
  ],
  body: crlf(
    [
      "Hello Jonas,",
      "",
      "the minutes of Tuesday are fine with me. The order stands at 240 pieces,",
      "delivery in week 12. My signature is on this mail, so please keep it as it is.",
      "",
      "Regards",
      "Anna Berg",
      "",
    ].join("\n"),
  ),
};

const signatureOfSignedPart: Entity = {
  fields: [["Content-Type", 'application/pgp-signature; name="signature.asc"']],
  body: crlf(
    [
      "-----BEGIN PGP SIGNATURE-----",
      "",
      "iHUEARYIAB0WIQS2dl0F0yI/qMP6Ec1fiS6fSdE8bQUCawOnZwAKCRBfiS6fSdE8",
      "bQhpAP9Jmf+vIiosS0zmh38EngBwlw9p2uBTLcQUrLWTkcGTHQEAiKzxA/XX71zb",
      "DxE0XwHV5SkzQogqvD1DxPwK2E6Y1Ag=",
      "=QvsN",
      "-----END PGP SIGNATURE-----",
      "",
    ].join("\n"),
  ),
};

const outgoing = (now: Date): Sample =>
  sample(
    {
      name: "outgoing",
      note: "mail of the tenant to a stranger: gets the disclaimer and our DKIM signature",
      direction: "outgoing",
      from: `Ben Otto <${people.ben}>`,
      to: `Jonas Keller <${people.jonas}>`,
      subject: "Re: Delivery of order 4711",
      envelope: { mailFrom: people.ben, rcptTo: [people.jonas] },
      content: textPart(
        "Dear Jonas,\n\nThursday is fine. Please use the gate on the north side.\n\nRegards\nBen Otto\n",
      ),
    },
    now,
  );

/** A square of one colour as PNG (ISO/IEC 15948). */
function bluePng(side: number): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(side, 0);
  header.writeUInt32BE(side, 4);
  header[8] = 8;
  header[9] = 2;
  const row = Buffer.concat([Buffer.of(0), Buffer.alloc(side * 3, Buffer.of(0x1f, 0x4e, 0x9e))]);
  const pixels = Buffer.concat(Array.from({ length: side }, () => row));
  return Buffer.concat([
    Buffer.from("\x89PNG\r\n\x1a\n", "latin1"),
    pngChunk("IHDR", header),
    pngChunk("IDAT", deflateSync(pixels)),
    pngChunk("IEND", Buffer.alloc(0)),
  ]);
}

function pngChunk(type: string, data: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const chunk = Buffer.alloc(body.length + 8);
  chunk.writeUInt32BE(data.length, 0);
  body.copy(chunk, 4);
  chunk.writeUInt32BE(crc32(body), body.length + 4);
  return chunk;
}

/** Bytes that do not compress and are the same each time (xorshift32). */
function noise(length: number): Buffer {
  const bytes = Buffer.alloc(length);
  let state = 0x9e3779b9;
  for (let at = 0; at < length; at += 4) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    bytes.writeInt32LE(state, at);
  }
  return bytes;
}
