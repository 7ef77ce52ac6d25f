import { createHash } from "node:crypto";
import type { EnrichOutput } from "@rs-agent/shared/bus/wire.ts";
import type { MailUnderChange } from "./changes/change.ts";
import { inChunks } from "@rs-agent/shared/mail/chunks.ts";

const maxNotes = 20;
const maxNoteLength = 500;

/**
 * The result of a mail whose changes are all made: the new header, down to where it is the same as the
 * old one, or, if the body changed, the whole mail. Size and SHA-256 cover what the relay will send; an
 * unchanged rest is hashed in place and never copied.
 */
export async function outputOf(
  mail: MailUnderChange,
  raw: Buffer,
  signal: AbortSignal,
): Promise<{ output: EnrichOutput; bytes: Buffer }> {
  const header = mail.header.build();
  const hash = createHash("sha256");
  for await (const chunk of inChunks([header, mail.rest], signal)) hash.update(chunk);
  const { bodyChanged, signature, mailFrom } = mail;
  const old = raw.subarray(0, mail.header.restOffset);
  const same = bodyChanged ? 0 : sameLinesAtEnd(header, old);
  return {
    output: {
      kind: "enriched",
      bodyChanged,
      restOffset: bodyChanged ? 0 : old.length - same,
      sha256: hash.digest("hex"),
      size: header.length + mail.rest.length,
      ...(signature === undefined ? {} : { signature }),
      ...(mailFrom === undefined ? {} : { mailFrom }),
      notes: mail.notes.slice(0, maxNotes).map((note) => note.slice(0, maxNoteLength)),
    },
    bytes: bodyChanged
      ? Buffer.concat([header, mail.rest])
      : header.subarray(0, header.length - same),
  };
}

const lf = 0x0a;

/** Bytes at the end of both that are the same whole lines. */
function sameLinesAtEnd(one: Buffer, other: Buffer): number {
  const most = Math.min(one.length, other.length);
  let lines = 0;
  for (let same = 0; same < most; same++) {
    if (one[one.length - 1 - same] !== other[other.length - 1 - same]) return lines;
    const isLineBefore = (text: Buffer) =>
      text.length === same + 1 || text[text.length - 2 - same] === lf;
    if (isLineBefore(one) && isLineBefore(other)) lines = same + 1;
  }
  return lines;
}
