import { createHash } from "node:crypto";
import { setImmediate as nextTurn } from "node:timers/promises";
import { isAscii } from "node:buffer";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import { canonicalize } from "@rs-agent/shared/mail/canonical.ts";
import type { BodyRef, MailRecord } from "@rs-agent/shared/mail/record.ts";

/** What goes out for a mail, exactly. */
export interface OutgoingMail {
  /** In order; never changed by anyone. */
  chunks: readonly Buffer[];
  size: number;
  /** It has bytes above 127, so the hop must take 8BITMIME (RFC 6152). */
  eightBit: boolean;
}

/** Reads a stored body and checks size and SHA-256 of what it read. */
export type ReadBody = (ref: BodyRef) => Promise<Buffer>;

/** How many bytes `loadOutgoing` will hold in memory for this mail. */
export function outgoingSize(mail: MailRecord): number {
  return Math.max(mail.enriched?.size ?? 0, mail.body.size);
}

/**
 * The bytes that this mail's policy wants sent: the stored raw mail, after the enricher's header
 * block if there is one, or the changed mail that the enricher stored. SHA-256 and size are those
 * that the enricher gave (and that its signature was verified on, I10), or it is not sent.
 * @throws TerminalError STORE_BODY_MISSING, STORE_BODY_CORRUPT
 * @throws RetryableError of the store
 */
export async function loadOutgoing(mail: MailRecord, readBody: ReadBody): Promise<OutgoingMail> {
  const { enriched } = mail;
  if (enriched === undefined) return await outgoing([await readBody(mail.body)]);
  const chunks =
    enriched.body === undefined
      ? behindHeaderBlock(mail, await readBody(mail.body))
      : [await readBody(enriched.body)];
  const found = await sha256Of(chunks);
  if (found !== enriched.sha256) {
    throw new TerminalError(
      "STORE_BODY_CORRUPT",
      `the bytes to be sent have SHA-256 ${found}, the enricher made ${enriched.sha256}`,
    );
  }
  return outgoing(chunks);
}

function behindHeaderBlock(mail: MailRecord, raw: Buffer): Buffer[] {
  const block = mail.enriched?.headerBlock;
  const rest = raw.subarray(mail.enriched?.restOffset ?? 0);
  if (block === undefined) return [rest];
  return [Buffer.from(block.buffer, block.byteOffset, block.byteLength), rest];
}

async function outgoing(given: readonly Buffer[]): Promise<OutgoingMail> {
  const chunks = given.filter((chunk) => chunk.length > 0);
  for (const chunk of chunks) {
    // The SMTP client would repair lone CR and LF on the way: other bytes than those that were signed.
    if (!(await isCanonical(chunk))) {
      throw new TerminalError("STORE_BODY_CORRUPT", "the bytes to be sent have lone CR or LF");
    }
  }
  return {
    chunks,
    size: chunks.reduce((size, chunk) => size + chunk.length, 0),
    eightBit: !chunks.every((chunk) => isAscii(chunk)),
  };
}

/** Bytes that are looked at in one turn of the event loop, so that a large mail holds up no other. */
const bytesPerTurn = 1024 * 1024;

async function isCanonical(chunk: Buffer): Promise<boolean> {
  for (let at = 0; at < chunk.length;) {
    if (at > 0) await nextTurn();
    const lineEnd = chunk.indexOf("\n", Math.min(at + bytesPerTurn, chunk.length) - 1);
    const end = lineEnd < 0 ? chunk.length : lineEnd + 1;
    const lines = chunk.subarray(at, end);
    if (canonicalize(lines) !== lines) return false;
    at = end;
  }
  return true;
}

async function sha256Of(chunks: readonly Buffer[]): Promise<string> {
  const hash = createHash("sha256");
  for (const chunk of chunks) {
    for (let at = 0; at < chunk.length; at += bytesPerTurn) {
      if (at > 0) await nextTurn();
      hash.update(chunk.subarray(at, at + bytesPerTurn));
    }
  }
  return hash.digest("hex");
}
