import { eicar } from "@rs-agent/av-worker/eicar.ts";
import { gtube } from "@rs-agent/spam-worker/canary.ts";
import {
  attachment,
  entityBytes,
  multipart,
  textPart,
  type Entity,
  type Field,
} from "@rs-agent/kit/mails/mime.ts";
import { randomOf, type Random } from "@rs-agent/kit/random.ts";
import { domains, type PlannedMail } from "./planned-mail.ts";
import { proseLine } from "@rs-agent/kit/mails/prose.ts";

/** The field by which the next hop recognizes a mail. */
export const idField = "X-Chaos-Id";

/** Marks a poisoned mail: its victim and its number. */
export const poisonField = "X-Chaos-Poison";

/** The field's value, also the left part of the Message-ID. */
export function chaosId(seed: number, number: number): string {
  return `${number}.${seed}`;
}

/** The mail's number, if the Message-ID is one of ours with this seed. */
export function numberOfMessageId(messageId: string, seed: number): number | undefined {
  const found = /^<(\d+)\.(\d+)@/.exec(messageId);
  return found !== null && Number(found[2]) === seed ? Number(found[1]) : undefined;
}

/** The raw mail, canonical; always the same bytes for the same seed, mail and date. */
export function bytesOf(seed: number, mail: PlannedMail, date: Date): Buffer {
  const random = randomOf(seed, "bytes", mail.number);
  const content = contentOf(mail, random);
  const domain = mail.direction === "outgoing" ? domains.north : domains.stranger;
  const fields: Field[] = [
    ["From", `Jonas Keller <from.${mail.number}@${domain}>`],
    ["To", mail.recipients.map(({ address }) => `<${address}>`).join(",\n ")],
    ["Subject", `Delivery ${mail.number}`],
    ["Date", date.toUTCString().replace("GMT", "+0000")],
    ["Message-ID", `<${chaosId(seed, mail.number)}@${domain}>`],
    [idField, chaosId(seed, mail.number)],
    ...(mail.kills === undefined
      ? []
      : [[poisonField, `${mail.kills} ${mail.number};`] satisfies Field]),
    ["MIME-Version", "1.0"],
    ...content.fields,
  ];
  return entityBytes({ fields, body: content.body });
}

function contentOf(mail: PlannedMail, random: Random): Entity {
  const text = textPart(`Dear Anna,\n\n${paragraphs(random)}${spamIn(mail)}\nJonas\n`);
  const file = fileOf(mail, random);
  return file === undefined ? text : multipart("multipart/mixed", "=_chaos", [text, file]);
}

function spamIn({ kind }: PlannedMail): string {
  return kind === "spam" || kind === "tagged-spam" || kind === "split-spam" ? `${gtube()}\n` : "";
}

function fileOf({ kind, attachmentBytes }: PlannedMail, random: Random): Entity | undefined {
  if (kind === "infected" || kind === "own-virus") {
    return attachment("application/octet-stream", "invoice.com", eicar);
  }
  if (attachmentBytes === 0) return undefined;
  const piece = Buffer.from(Array.from({ length: 4_096 }, () => random.between(0, 255)));
  return attachment("image/x-raw", "plan.raw", Buffer.alloc(attachmentBytes, piece));
}

/** 0.3 to 4 KB of text, with one line that begins with a dot. */
function paragraphs(random: Random): string {
  const lines = Array.from({ length: random.between(5, 60) }, () => proseLine(random));
  lines.splice(random.between(0, lines.length), 0, "...and a line that begins with dots");
  return `${lines.join("\n")}\n`;
}
