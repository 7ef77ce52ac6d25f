import { createHash } from "node:crypto";
import type { EnrichOutput } from "@rs-agent/shared/bus/wire.ts";
import type { MailUnderChange } from "./changes/change.ts";
import { inChunks } from "@rs-agent/shared/mail/chunks.ts";

const maxNotes = 20;
const maxNoteLength = 500;

/**
 * The result of a mail whose changes are all made: the new header alone or, if the body changed,
 * the whole mail. Size and SHA-256 cover what the relay will send; an unchanged rest is hashed in
 * place and never copied.
 */
export async function outputOf(
  mail: MailUnderChange,
  restOffset: number,
  signal: AbortSignal,
): Promise<{ output: EnrichOutput; bytes: Buffer }> {
  const header = mail.header.build();
  const hash = createHash("sha256");
  for await (const chunk of inChunks([header, mail.rest], signal)) hash.update(chunk);
  const { bodyChanged, signature, mailFrom } = mail;
  return {
    output: {
      kind: "enriched",
      bodyChanged,
      restOffset: bodyChanged ? 0 : restOffset,
      sha256: hash.digest("hex"),
      size: header.length + mail.rest.length,
      ...(signature === undefined ? {} : { signature }),
      ...(mailFrom === undefined ? {} : { mailFrom }),
      notes: mail.notes.slice(0, maxNotes).map((note) => note.slice(0, maxNoteLength)),
    },
    bytes: bodyChanged ? Buffer.concat([header, mail.rest]) : header,
  };
}
