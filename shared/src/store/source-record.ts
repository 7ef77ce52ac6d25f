import { promisify } from "node:util";
import { inflate } from "node:zlib";
import { Binary, ObjectId, type Document } from "mongodb";
import { z } from "zod";
import { messageOf } from "../errors.ts";
import type { Client, SmtpEnvelope } from "../mail/smtp-envelope.ts";
import { isWithin, parseAddress } from "../policy/networks.ts";
import type { SourceConfig } from "./source-config.ts";

/** Where a source record keeps its mail. `zlib-base64` is how mongo-mail-server encodes it. */
export type SourceBody =
  { kind: "bytes"; bytes: Buffer } | { kind: "file"; id: unknown; encoding: "raw" | "zlib-base64" };

/** A source record, read. */
export interface SourceRecord {
  smtp: SmtpEnvelope;
  body: SourceBody;
  /** When the record says that it was received. */
  recordedAt?: Date;
}

const text = (max: number) => z.string().max(max).nullish();

/** An SMTP path with or without angle brackets; nothing in it may end an SMTP command or a path. */
const pathSchema = z
  .string()
  .transform((path) => /^\s*<([^>]*)>/.exec(path)?.[1] ?? path.trim())
  .pipe(
    z
      .string()
      .max(320)

      .regex(/^[^\x00-\x1f\x7f<>]*$/, "is no SMTP path"),
  );
/** `<>`, `""`, null and nothing at all are the null sender. */
const senderSchema = pathSchema.nullish().transform((path) => path ?? "");
const recipientsSchema = z
  .array(pathSchema.refine((path) => path !== "", "is empty"))
  .min(1)
  .max(10_000);

const fileIdSchema = z.custom<string | number | object>(
  (id) => typeof id === "string" || typeof id === "number" || id instanceof ObjectId,
  "is neither bytes nor the id of a GridFS file",
);

const nativeSchema = z.looseObject({
  smtp: z.looseObject({
    mailFrom: senderSchema,
    rcptTo: recipientsSchema,
    client: z.looseObject({ address: text(64), name: text(255), helo: text(255) }).nullish(),
    params: z.looseObject({ body: z.enum(["7BIT", "8BITMIME"]).optional() }).nullish(),
  }),
  body: z.union([
    z.instanceof(Buffer),
    z.instanceof(Binary).transform((binary) => Buffer.from(binary.value())),
    fileIdSchema,
  ]),
  receivedAt: z.date().nullish(),
});

const mongoMailServerSchema = z.looseObject({
  sender: senderSchema,
  rcpt: recipientsSchema,
  client_address: text(64),
  server: text(64),
  xforward: z.looseObject({ NAME: text(255), ADDR: text(64), HELO: text(255) }).nullish(),
  received: z.date().nullish(),
  message: fileIdSchema,
});

/** Reads a record of one of the two accepted forms, or says in one sentence what is wrong with it. */
export function readSourceRecord(
  { form, xforwardPeers }: Pick<SourceConfig, "form" | "xforwardPeers">,
  document: Document,
): { record: SourceRecord } | { reason: string } {
  if (form === "native") {
    const parsed = nativeSchema.safeParse(document);
    return parsed.success ? { record: fromNative(parsed.data) } : reasonOf(parsed.error);
  }
  const parsed = mongoMailServerSchema.safeParse(document);
  return parsed.success
    ? { record: fromMongoMailServer(parsed.data, xforwardPeers) }
    : reasonOf(parsed.error);
}

function fromNative({ smtp, body, receivedAt }: z.output<typeof nativeSchema>): SourceRecord {
  const { client } = smtp;
  const params = smtp.params?.body === undefined ? {} : { params: { body: smtp.params.body } };
  return {
    smtp: {
      mailFrom: smtp.mailFrom,
      rcptTo: smtp.rcptTo,
      client: {
        address: client?.address ?? "",
        name: client?.name ?? "",
        helo: client?.helo ?? "",
      },
      ...params,
    },
    body: Buffer.isBuffer(body)
      ? { kind: "bytes", bytes: body }
      : { kind: "file", id: body, encoding: "raw" },
    ...(receivedAt ? { recordedAt: receivedAt } : {}),
  };
}

function fromMongoMailServer(
  record: z.output<typeof mongoMailServerSchema>,
  xforwardPeers: readonly string[],
): SourceRecord {
  const { sender, rcpt, received, message } = record;
  return {
    smtp: { mailFrom: sender, rcptTo: rcpt, client: clientOf(record, xforwardPeers) },
    body: { kind: "file", id: message, encoding: "zlib-base64" },
    ...(received ? { recordedAt: received } : {}),
  };
}

/**
 * That daemon takes XFORWARD from anybody, and `client_address` is what XFORWARD said too. Only `server`
 * is what it saw itself: the peer that spoke to it, which is the client unless it is known to forward.
 */
function clientOf(
  { server, xforward, client_address }: z.output<typeof mongoMailServerSchema>,
  xforwardPeers: readonly string[],
): Client {
  const peer = parseAddress(server ?? "") === undefined ? "" : (server ?? "");
  const address = [xforward?.ADDR, client_address].find((given) => (given ?? "") !== "");
  if (!isWithin(xforwardPeers, peer) || typeof address !== "string")
    return { address: peer, name: "", helo: "" };
  return {
    address: xforwardText(address),
    name: xforwardText(xforward?.NAME),
    helo: xforwardText(xforward?.HELO),
  };
}

/**
 * An XFORWARD value as Postfix sends it (XFORWARD_README): xtext (RFC 3461 §4), `[UNAVAILABLE]` and
 * `[TEMPUNAVAIL]` for what is unknown, `IPV6:` before such an address.
 */
function xforwardText(value: string | null | undefined): string {
  if (value === null || value === undefined || /^\[(UN|TEMP)/i.test(value)) return "";
  const decoded = value.replace(/\+([0-9A-F]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  return decoded.replace(/^IPV6:/i, "");
}

const inflateAsync = promisify(inflate) as (
  data: Buffer,
  options: { maxOutputLength: number },
) => Promise<Buffer>;

/** Undoes what mongo-mail-server did to the mail: base64 of the zlib-compressed bytes. */
export async function decodeZlibBase64(
  encoded: Buffer,
  maxBytes: number,
): Promise<{ bytes: Buffer } | { reason: string }> {
  const base64 = encoded.toString("latin1");
  if (!isBase64(base64)) return { reason: "its file is not base64" };
  try {
    const options = { maxOutputLength: maxBytes };
    return { bytes: await inflateAsync(Buffer.from(base64, "base64"), options) };
  } catch (error) {
    return { reason: `its file does not decompress: ${messageOf(error)}` };
  }
}

/** In two looks at each character: one expression for all of it tries every end of a long blank. */
function isBase64(text: string): boolean {
  const padding = text.indexOf("=");
  const end = padding < 0 ? text.length : padding;
  return !/[^A-Za-z0-9+/\s]/.test(text.slice(0, end)) && /^(?:={1,2}\s*)?$/.test(text.slice(end));
}

function reasonOf(error: z.ZodError): { reason: string } {
  return {
    reason: z
      .prettifyError(error)
      .replaceAll(/\s*\n\s*/g, " ")
      .slice(0, 900),
  };
}
