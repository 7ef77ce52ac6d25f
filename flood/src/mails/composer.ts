import { randomOf } from "@rs-agent/kit/random.ts";
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
import type { Corpus } from "./corpus.ts";
import { kindsOf, type MailKind, type Mix } from "./mix.ts";
import { idField, idOf, senderOf } from "./numbering.ts";
import { drawSize, type Sizes } from "./sizes.ts";
import { recipientsOf, type RecipientCount, type Tenants } from "./tenants.ts";
import { TextPool } from "./text-pool.ts";

/** One mail of a run, determined by the run's seed and its number. */
export interface FloodMail {
  readonly number: number;
  readonly kind: MailKind;
  readonly mailFrom: string;
  readonly rcptTo: readonly string[];
}

export interface ComposerOptions {
  run: string;
  seed: number;
  /** For the Date fields. */
  startedAt: Date;
  mix: Mix;
  /** Sizes of all mails but `big` and `corpus`. */
  sizes: Sizes;
  /** Size of the attachment of a `big` mail, before base64. */
  bigBytes: number;
  /** Domain of the SMTP senders. */
  fromDomain: string;
  tenants: Tenants;
  recipients: RecipientCount;
  /** Needed if the mix has `corpus`. */
  corpus?: Corpus | undefined;
}

export interface Composer {
  /** Always returns the same mail for the same number. */
  mail: (number: number) => FloodMail;
  /** The raw mail, canonical; it is not kept. */
  bytes: (mail: FloodMail) => Promise<Buffer> | Buffer;
}

/**
 * Makes the mails of a run. No two are equal: each has its number in its header, and text of its
 * own.
 */
export function createComposer(options: ComposerOptions): Composer {
  const { run, seed, mix, fromDomain, tenants, recipients, corpus } = options;
  const kindOf = kindsOf(mix, seed);
  const content = contentMaker(options);
  return {
    mail: (number) => ({
      number,
      kind: kindOf(number),
      mailFrom: senderOf(run, number, fromDomain),
      rcptTo: recipientsOf(tenants, recipients, { run, number }, randomOf(seed, "to", number)),
    }),
    bytes(mail) {
      if (mail.kind === "corpus") return numbered(corpus, run, mail.number);
      const { fields, body } = content(mail.kind, mail.number);
      return entityBytes({ fields: [...headerOf(options, mail), ...fields], body });
    },
  };
}

/** Real mail stays as it is, after the one field that numbers it. */
async function numbered(corpus: Corpus | undefined, run: string, number: number): Promise<Buffer> {
  if (corpus === undefined) throw new Error("a corpus mail without a corpus");
  const raw = await corpus.read(number);
  return Buffer.concat([Buffer.from(`${idField}: ${idOf(run, number)}\r\n`), raw]);
}

function headerOf({ run, startedAt, fromDomain }: ComposerOptions, mail: FloodMail): Field[] {
  const id = idOf(run, mail.number);
  return [
    [idField, id],
    ["From", `Jonas Keller <${mail.mailFrom}>`],
    ["To", mail.rcptTo.map((address) => `<${address}>`).join(",\n ")],
    ["Subject", `Delivery ${mail.number}`],
    ["Date", startedAt.toUTCString().replace("GMT", "+0000")],
    ["Message-ID", `<flood.${id}@${fromDomain}>`],
    ["MIME-Version", "1.0"],
  ];
}

/** About the size of a header: a mail of 4k should have 4 KB. */
const headerBytes = 450;

function contentMaker({ run, seed, sizes, bigBytes }: ComposerOptions) {
  const pool = new TextPool(seed);
  const virus = attachment("application/octet-stream", "invoice.com", eicar);
  const big = lazily(() => attachment("image/x-raw", "plan.raw", rawBytes(seed, bigBytes)));
  return (kind: Exclude<MailKind, "corpus">, number: number): Entity => {
    const random = randomOf(seed, "content", number);
    const size = kind === "big" ? besideBigBytes : drawSize(sizes, random);
    const text = pool.cut(Math.max(1, size - headerBytes), random).toString("latin1");
    // Two mails may draw the same text.
    const first = `This is about delivery ${idOf(run, number)}.\r\n`;
    const letter = textPart(`${first}${kind === "spam" ? `${gtube()}\r\n` : ""}\r\n${text}`);
    if (kind === "clean" || kind === "spam") return letter;
    return multipart("multipart/mixed", "=_flood", [letter, kind === "big" ? big() : virus]);
  };
}

/** Size of the letter around a big attachment. */
const besideBigBytes = 1_000;

/**
 * Bytes that are not the beginning of an archive or image format, and that do not compress away.
 */
function rawBytes(seed: number, size: number): Buffer {
  const random = randomOf(seed, "attachment");
  const piece = Buffer.from(Array.from({ length: 4_096 }, () => random.between(0, 255)));
  return Buffer.alloc(size, piece);
}

function lazily<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => (made ??= { value: make() }).value;
}
