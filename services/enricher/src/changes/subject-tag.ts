import libmime from "libmime";
import { answerIn, checkOf } from "@rs-agent/shared/checks/verdict.ts";
import type { EnrichTask } from "@rs-agent/shared/bus/wire.ts";
import {
  encodedText,
  fieldBody,
  fieldBytes,
  foldField,
  unfoldedBody,
  type BlockField,
} from "@rs-agent/shared/mail/header-block.ts";
import type { ApplyChange } from "./change.ts";

const niceLineLimit = 78;

/**
 * Puts the tag before the subject of a mail that policy tags. The subject's own bytes, encoded
 * words included, stay as they are; a subject that already holds the tag (a reply to a tagged mail)
 * does not get a second one.
 */
export const tagSubject: ApplyChange<"subject-tag"> = (mail, { tag }, { task }) => {
  const clean = tag.trim();
  if (clean === "" || !isTagged(task)) return undefined;
  if (mail.header.named("subject").length === 0) {
    mail.header.append(foldField("Subject", clean));
    return undefined;
  }
  mail.header.rewrite((field) =>
    field.name !== "subject" || holdsTag(field, clean) ? undefined : withTag(field, clean),
  );
  return undefined;
};

/**
 * Only spam is marked. Mail that passes unchecked is `tag` too, but only its headers say so. Spam
 * that policy delivers, or a person released, is not marked either.
 */
function isTagged({ disposition, verdicts, settings }: EnrichTask): boolean {
  const found = answerIn(verdicts.spam?.finding);
  if (found === undefined || (disposition ?? "tag") !== "tag") return false;
  return checkOf("spam").isFinding(found, { threshold: settings.spamThreshold });
}

function holdsTag(subject: BlockField, tag: string): boolean {
  const shown = libmime.decodeWords(unfoldedBody(subject));
  return shown.replace(/\s+/g, " ").includes(tag.replace(/\s+/g, " "));
}

/**
 * Puts the tag before the body's bytes as text of its own; if they are long, on a line of its own.
 */
function withTag(subject: BlockField, tag: string): Buffer {
  const body = fieldBody(subject);
  const name = fieldBytes(subject).subarray(0, subject.bodyStart - subject.start);
  const text = encodedTag(tag, unfoldedBody(subject));
  const startsBlank = body[0] === 0x20 || body[0] === 0x09 || body[0] === 0x0d;
  const firstLine = body.indexOf("\r\n");
  const isLong = name.length + 1 + text.length + firstLine > niceLineLimit;
  const between = isLong && /^[ \t]+\S/.test(body.toString("latin1", 0, firstLine)) ? "\r\n" : "";
  return Buffer.concat([name, Buffer.from(` ${text}${between}${startsBlank ? "" : " "}`), body]);
}

/**
 * A reader drops the blank between two encoded words (RFC 2047 §6.2), so before another one the
 * tag's own word ends with the blank.
 */
function encodedTag(tag: string, next: string): string {
  const text = encodedText(tag);
  if (text === tag || !next.startsWith("=?")) return text;
  return libmime.encodeWord(`${tag} `, "Q", 52);
}
