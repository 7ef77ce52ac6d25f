import { open } from "node:fs/promises";
import type { SpamSettings } from "@rs-agent/shared/checks/spam.ts";
import type { TaskMail } from "@rs-agent/shared/worker/handler.ts";

export type MailForEngine =
  /** `scannedBytes` if `raw` is only part of the mail. */
  { kind: "mail"; raw: Buffer; scannedBytes?: number } | { kind: "too-large" };

/**
 * The bytes that an engine is given: the raw mail or, if it is oversized and the policy wants that,
 * its head, cut at a line end.
 */
export async function mailForEngine(
  mail: TaskMail,
  settings: SpamSettings,
): Promise<MailForEngine> {
  const size = mail.kind === "bytes" ? mail.bytes.length : mail.size;
  const tooLarge = size > settings.maxBytes;
  if (tooLarge && settings.oversize === "unchecked") return { kind: "too-large" };
  const first = await firstBytes(mail, Math.min(size, settings.maxBytes));
  const raw = tooLarge ? cutAtLineEnd(first) : first;
  return tooLarge ? { kind: "mail", raw, scannedBytes: raw.length } : { kind: "mail", raw };
}

/** The longest head that ends with a line; all of it if there is no line end. */
export function cutAtLineEnd(bytes: Buffer): Buffer {
  const end = bytes.lastIndexOf(0x0a);
  return end < 0 ? bytes : bytes.subarray(0, end + 1);
}

async function firstBytes(mail: TaskMail, length: number): Promise<Buffer> {
  if (mail.kind === "bytes") return mail.bytes.subarray(0, length);
  await using file = await open(mail.path, "r");
  const bytes = Buffer.alloc(length);
  let read = 0;
  while (read < length) {
    const { bytesRead } = await file.read(bytes, read, length - read, read);
    if (bytesRead === 0) throw new Error(`the spooled mail ends after ${read} bytes`);
    read += bytesRead;
  }
  return bytes;
}
