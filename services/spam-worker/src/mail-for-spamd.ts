import { open } from "node:fs/promises";
import type { SpamSettings } from "@rs-agent/shared/mail/task-settings.ts";
import type { TaskMail } from "@rs-agent/shared/worker/handler.ts";

export type MailForSpamd =
  /** Pieces to be sent one after another; `scannedBytes` of the raw mail where that is not all. */
  { kind: "mail"; pieces: Buffer[]; scannedBytes?: number } | { kind: "too-large" };

/**
 * What spamd is given: the SMTP sender as Return-Path (SpamAssassin's EnvelopeFrom), then the raw
 * mail, whose first Received line is our own and names the client, so that rules about relays
 * judge the right hop. Of an oversized mail its head, cut at a line end, if the policy wants that.
 */
export async function mailForSpamd(
  mail: TaskMail,
  mailFrom: string,
  settings: SpamSettings,
): Promise<MailForSpamd> {
  const size = mail.kind === "bytes" ? mail.bytes.length : mail.size;
  const tooLarge = size > settings.maxBytes;
  if (tooLarge && settings.oversize === "unchecked") return { kind: "too-large" };
  const first = await firstBytes(mail, Math.min(size, settings.maxBytes));
  const raw = tooLarge ? cutAtLineEnd(first) : first;
  const pieces = [returnPath(mailFrom), raw];
  return tooLarge ? { kind: "mail", pieces, scannedBytes: raw.length } : { kind: "mail", pieces };
}

/** RFC 5321 4.4. Nothing in the address can end the line or the path. */
export function returnPath(mailFrom: string): Buffer {
  return Buffer.from(`Return-Path: <${mailFrom.replace(/[\x00-\x1f\x7f<>]/g, "")}>\r\n`);
}

/** The longest part that ends with a line; all of it where there is no line end. */
export function cutAtLineEnd(bytes: Buffer): Buffer {
  const end = bytes.lastIndexOf(0x0a);
  return end < 0 ? bytes : bytes.subarray(0, end + 1);
}

async function firstBytes(mail: TaskMail, length: number): Promise<Buffer> {
  if (mail.kind === "bytes") return mail.bytes.subarray(0, length);
  const file = await open(mail.path, "r");
  try {
    const bytes = Buffer.alloc(length);
    let read = 0;
    while (read < length) {
      const { bytesRead } = await file.read(bytes, read, length - read, read);
      if (bytesRead === 0) throw new Error(`the spooled mail ends after ${read} bytes`);
      read += bytesRead;
    }
    return bytes;
  } finally {
    await file.close();
  }
}
