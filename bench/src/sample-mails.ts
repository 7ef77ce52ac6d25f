import { randomBytes, randomInt } from "node:crypto";
import { eicar } from "@rs-agent/av-worker/eicar.ts";
import { gtube } from "@rs-agent/spam-worker/canary.ts";

/** The domain of the recipients, on both sides. */
export const recipientDomain = "bench.example";
export const mailFrom = "sender@stranger.example";
export const rcptTo = `rcpt@${recipientDomain}`;

const words =
  "the of and to in is that for it as was with be by on not he his but at are this have from or had an they which one you were all her she there would their we him been has when who will no more if out so up said what its about than into them can only other time new some could these two may first then do any like my now over such our man me even most made after also did many off before must well back through years much where your way down should because long each just state those people too mister how little good world make very year still see work men day get here old life both between being under three never know same last another while us might great go come since against right came take used himself few house use place during without again home around small however found part school once set number".split(
    " ",
  );
/** Lines of words, from which every mail takes its own. */
const lines = Array.from({ length: 4_096 }, () => {
  let line = "";
  while (line.length < 64) line += `${words[randomInt(words.length)] ?? ""} `;
  return `${line.trimEnd()}\r\n`;
});

let numbered = 0;

/**
 * Mails of about this many bytes, no two alike: clamd remembers by hash what it found clean. Each
 * ends with the dot of DATA; no line begins with one.
 */
export function distinctMails(count: number, bytes: number): Buffer[] {
  return Array.from({ length: count }, () => Buffer.from(`${textOf(bytes)}.\r\n`, "latin1"));
}

/** The same without DATA's dot. */
export function distinctMail(bytes: number): Buffer {
  return Buffer.from(textOf(bytes), "latin1");
}

function textOf(bytes: number): string {
  let text = head("Minutes of the meeting", "Content-Type: text/plain; charset=us-ascii");
  while (text.length < bytes) text += lines[randomInt(lines.length)] ?? "";
  return text;
}

/** A mail with an attachment of random bytes, of this total size; ends with DATA's dot. */
export function bigMail(bytes: number): Buffer {
  const boundary = "part-of-bench";
  const begin =
    head("Plans", `Content-Type: multipart/mixed; boundary="${boundary}"`) +
    `--${boundary}\r\nContent-Type: application/octet-stream\r\n` +
    "Content-Transfer-Encoding: base64\r\n\r\n";
  const lineBytes = 57;
  const lineCount = Math.floor((bytes - begin.length) / 78);
  const attached = randomBytes(lineBytes * lineCount);
  const encoded = Array.from({ length: lineCount }, (_, n) =>
    attached.toString("base64", n * lineBytes, (n + 1) * lineBytes),
  );
  return Buffer.from(`${begin}${encoded.join("\r\n")}\r\n--${boundary}--\r\n.\r\n`, "latin1");
}

/** A mail with EICAR as an attachment. */
export function virusMail(): Buffer {
  const boundary = "part-of-bench";
  const part = `--${boundary}\r\nContent-Type: `;
  const mail =
    head("Invoice", `Content-Type: multipart/mixed; boundary="${boundary}"`) +
    `${part}text/plain\r\n\r\nPlease see the attached file.\r\n` +
    `${part}application/octet-stream; name="eicar.com"\r\n` +
    'Content-Disposition: attachment; filename="eicar.com"\r\n' +
    `Content-Transfer-Encoding: base64\r\n\r\n${eicar.toString("base64")}\r\n--${boundary}--\r\n`;
  return Buffer.from(`${mail}.\r\n`, "latin1");
}

/** A mail with GTUBE in its text. */
export function spamMail(): Buffer {
  const type = "Content-Type: text/plain; charset=us-ascii";
  return Buffer.from(`${head("An offer", type)}${gtube()}\r\n\r\n.\r\n`, "latin1");
}

function head(subject: string, contentType: string): string {
  numbered += 1;
  const id = `${numbered}.${randomInt(2 ** 40).toString(36)}`;
  return (
    `From: Sender <${mailFrom}>\r\nTo: ${rcptTo}\r\n` +
    `Subject: ${subject} ${numbered}\r\nMessage-ID: <${id}@stranger.example>\r\n` +
    `Date: ${new Date().toUTCString().replace("GMT", "+0000")}\r\nMIME-Version: 1.0\r\n` +
    `${contentType}\r\n\r\n`
  );
}
