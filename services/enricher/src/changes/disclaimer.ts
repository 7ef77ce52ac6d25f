import { readHeaderBlock } from "@rs-agent/shared/mail/header-block.ts";
import { mimeStructure, type MimePart } from "../mime/structure.ts";
import { openPartBody } from "../mime/part-body.ts";
import { withInsertion, type Insertion } from "../mime/text-part.ts";
import type { ApplyChange, ChangeOf, MailUnderChange } from "./change.ts";

/** A larger text part, in bytes, is not a letter and is left alone. */
const maxTextBytes = 8 * 1024 * 1024;

/**
 * 8-bit text grows threefold as quoted-printable; this stays well below the bus's `growthBytes`.
 */
const maxGrowthBytes = 1024 * 1024;

/** Content that someone signed or encrypted, or that a machine reads: never changed. */
const protectedTypes = new Set([
  "multipart/signed",
  "multipart/encrypted",
  "multipart/report",
  "application/pkcs7-mime",
  "application/x-pkcs7-mime",
  "application/pgp-encrypted",
]);
const pgpInline = /^-----BEGIN PGP (?:SIGNED )?MESSAGE-----/m;

type Target = { kind: "parts"; parts: MimePart[] } | { kind: "none"; why: string };

/**
 * Adds the disclaimer to the letter that a person reads: the text part, or every form of it in
 * multipart/alternative (all or none). Attachments, embedded mail, and signed or encrypted content
 * are never changed. If the disclaimer cannot be added without harm, a note says why and the mail
 * stays the same, byte for byte.
 */
export const addDisclaimer: ApplyChange<"disclaimer"> = async (mail, change, { signal }) => {
  const whole = closedMail(mail);
  const structure = await mimeStructure(whole, signal);
  const target: Target =
    structure.kind === "parts" ? letterIn(structure.root) : { kind: "none", why: structure.reason };
  if (target.kind === "none") {
    note(mail, target.why);
  } else if (target.parts.length === 0) {
    note(mail, "it has no text part");
  } else if (target.parts.some((part) => isPgpInline(whole, part))) {
    note(mail, "its text is signed or encrypted by PGP");
  } else {
    const insertions = target.parts.map((part) => insertionFor(whole, part, change));
    insert(mail, whole, insertions);
  }
  return undefined;
};

function insert(mail: MailUnderChange, whole: Buffer, insertions: readonly Insertion[]): void {
  const impossible = insertions.find((insertion) => insertion.kind === "impossible");
  if (impossible !== undefined) {
    const isOneOfMany = insertions.length > 1;
    const consequence = isOneOfMany ? ", and all forms of the letter get it or none" : "";
    return note(mail, `${impossible.reason}${consequence}`);
  }
  const changed = spliced(
    whole,
    insertions.filter((insertion) => insertion.kind === "piece"),
  );
  if (changed.length - whole.length > maxGrowthBytes) note(mail, "the mail would grow too much");
  else replaceWhole(mail, changed);
}

function note(mail: MailUnderChange, reason: string): void {
  mail.notes.push(`disclaimer skipped: ${reason}`);
}

/** The mail as it stands now, with the empty line that must precede a body. */
function closedMail({ header, rest }: MailUnderChange): Buffer {
  const block = readHeaderBlock(header.build());
  block.closeHeader();
  return Buffer.concat([block.build(), rest]);
}

function replaceWhole(mail: MailUnderChange, whole: Buffer): void {
  mail.header = readHeaderBlock(whole);
  mail.rest = whole.subarray(mail.header.restOffset);
  mail.bodyChanged = true;
}

/** Text that is shown; text with a file name only if there is no other. */
function letterIn(root: MimePart): Target {
  const target = targetIn(root, false);
  return target.kind === "parts" && target.parts.length === 0 ? targetIn(root, true) : target;
}

function targetIn(part: MimePart, takesFiles: boolean): Target {
  const { contentType, children } = part;
  if (protectedTypes.has(contentType))
    return { kind: "none", why: `its content is ${contentType}` };
  if (contentType === "multipart/alternative") return allOf(children);
  if (contentType === "multipart/related") return firstOf(rootOf(part), takesFiles);
  // Its entries are other people's mails (RFC 2046 §5.1.5).
  if (contentType === "multipart/digest") return { kind: "parts", parts: [] };
  if (contentType.startsWith("multipart/")) return firstOf(children, takesFiles);
  const isText = contentType === "text/plain" || contentType === "text/html";
  const isShown = part.disposition !== "attachment" && (takesFiles || !part.hasFilename);
  return { kind: "parts", parts: isText && isShown ? [part] : [] };
}

/**
 * The part that is shown, to which the others belong: that of `start`, else the first (RFC 2387
 * §3.2).
 */
function rootOf({ children, start }: MimePart): MimePart[] {
  const named = start === "" ? undefined : children.find(({ contentId }) => contentId === start);
  return named === undefined ? children.slice(0, 1) : [named];
}

/** Forms of one letter: a file name does not make one an attachment. */
function allOf(children: readonly MimePart[]): Target {
  const targets = children.map((child) => targetIn(child, true));
  const guarded = targets.find(({ kind }) => kind === "none");
  if (guarded !== undefined) return guarded;
  const parts = targets.flatMap((target) => (target.kind === "parts" ? target.parts : []));
  return { kind: "parts", parts };
}

function firstOf(children: readonly MimePart[], takesFiles: boolean): Target {
  for (const child of children) {
    const target = targetIn(child, takesFiles);
    if (target.kind === "none" || target.parts.length > 0) return target;
  }
  return { kind: "parts", parts: [] };
}

function isPgpInline(whole: Buffer, part: MimePart): boolean {
  const body = whole.subarray(part.bodyStart, part.bodyEnd);
  const decoded = openPartBody(body, part.encoding)?.decoded ?? body;
  return pgpInline.test(decoded.toString("latin1"));
}

function insertionFor(
  whole: Buffer,
  part: MimePart,
  { text, html }: ChangeOf<"disclaimer">,
): Insertion {
  if (part.bodyEnd - part.bodyStart > maxTextBytes) {
    return { kind: "impossible", reason: "its text is too large" };
  }
  return withInsertion(whole, part, { text, html: html ?? htmlOf(text) });
}

function htmlOf(text: string): string {
  const escapes: Record<string, string> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;" };
  const escaped = text.replace(/[&<>"]/g, (character) => escapes[character] ?? character);
  return `<p>${escaped.trim().replace(/\r?\n/g, "<br>\r\n")}</p>`;
}

function spliced(whole: Buffer, pieces: readonly { start: number; end: number; bytes: Buffer }[]) {
  const parts: Buffer[] = [];
  let at = 0;
  for (const { start, end, bytes } of pieces) {
    parts.push(whole.subarray(at, start), bytes);
    at = end;
  }
  return Buffer.concat([...parts, whole.subarray(at)]);
}
