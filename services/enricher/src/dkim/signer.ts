import { pipeline } from "node:stream/promises";
import { Readable } from "node:stream";
import { dkimVerify } from "mailauth/lib/dkim/verify.js";
import { DkimSigner, type ParsedHeaders } from "mailauth/lib/dkim/dkim-signer.js";
import { messageOf, TerminalError } from "@rs-agent/shared/errors.ts";
import { inChunks } from "@rs-agent/shared/mail/chunks.ts";
import type { SigningKey } from "./key.ts";

/**
 * Our DKIM signatures (RFC 6376, RFC 8463), relaxed/relaxed, and the proof that they hold.
 *
 * 1. No signature is used before mailauth's verifier found it good over the exact bytes to be sent
 *    (I10).
 * 2. Nobody can add a field that changes what the reader sees: h= names these fields once more than
 *    the mail has them (RFC 6376 §5.4.2), so that a second From breaks the signature.
 */
const oversigned = [
  "From",
  "Reply-To",
  "Subject",
  "To",
  "Cc",
  "Content-Type",
  "Content-Transfer-Encoding",
];
/** A next hop may add these where they are missing: named once more only if the mail has them. */
const oversignedIfPresent = ["Sender", "Date", "Message-ID", "MIME-Version"];
const signedIfPresent = [
  "In-Reply-To",
  "References",
  "Content-ID",
  "Content-Description",
  "Resent-Date",
  "Resent-From",
  "Resent-Sender",
  "Resent-To",
  "Resent-Cc",
  "Resent-Message-ID",
  "List-Id",
  "List-Help",
  "List-Unsubscribe",
  "List-Unsubscribe-Post",
  "List-Subscribe",
  "List-Post",
  "List-Owner",
  "List-Archive",
];
const signedNames = [...oversigned, ...oversignedIfPresent, ...signedIfPresent];

export interface SignatureRequest {
  /** d= and s=. */
  domain: string;
  selector: string;
  key: SigningKey;
  now: Date;
  signal: AbortSignal;
}

/**
 * The DKIM-Signature field (CRLF included) for a mail given as its consecutive parts.
 * @throws TerminalError ENRICH_SIGNATURE_INVALID if mailauth cannot sign
 */
export async function signMail(
  parts: readonly Buffer[],
  request: SignatureRequest,
): Promise<Buffer> {
  const { domain, selector, key, now, signal } = request;
  const signer = new OversigningSigner({
    strict: true,
    signTime: now,
    signatureData: [
      {
        signingDomain: domain,
        selector,
        privateKey: key.pem,
        canonicalization: "relaxed/relaxed",
        headerList: signedNames,
      },
    ],
  });
  await pipeline(Readable.from(inChunks(parts, signal), { objectMode: true }), signer);
  const [line] = signer.signatureHeaders;
  // mailauth throws nothing: an unusable key shows in `errors` alone.
  if (signer.errors.length > 0 || line === undefined || signer.signatureHeaders.length !== 1) {
    const why = signer.errors.map(({ err }) => messageOf(err)).join("; ");
    throw new TerminalError("ENRICH_SIGNATURE_INVALID", `the mail cannot be signed: ${why}`);
  }
  return Buffer.from(`${line}\r\n`);
}

/**
 * Verifies the topmost signature over the exact bytes to be sent, against the record that belongs
 * to our key, as a receiver would once that record is in the DNS.
 * @throws TerminalError ENRICH_SIGNATURE_INVALID unless it passes with exactly this d= and s=
 */
export async function verifyTopSignature(
  parts: readonly Buffer[],
  request: SignatureRequest,
): Promise<void> {
  const { domain, selector, key, now, signal } = request;
  const ourName = `${selector}._domainkey.${domain}`.toLowerCase();
  const resolver = (name: string): Promise<string[][]> => {
    if (name.toLowerCase() === ourName) return Promise.resolve([[key.record]]);
    // The sender's own signatures do not matter here, and are no reason to ask the DNS.
    return Promise.reject(Object.assign(new Error("not asked here"), { code: "ENOTFOUND" }));
  };
  const mail = Readable.from(inChunks(parts, signal), { objectMode: true });
  const { results } = await dkimVerify(mail, { resolver, strict: true, curTime: now });
  const [top] = results;
  const isOurs =
    top?.signingDomain?.toLowerCase() === domain.toLowerCase() && top.selector === selector;
  if (isOurs && top.status.result === "pass") return;
  const found = `${top?.status.result ?? "none"} ${top?.status.comment ?? ""}`.trim();
  throw new TerminalError(
    "ENRICH_SIGNATURE_INVALID",
    `our signature d=${domain} s=${selector} does not verify: ${found}`,
  );
}

/**
 * mailauth names each field in h= as often as the mail has it; this signer names some once more.
 */
class OversigningSigner extends DkimSigner {
  override async messageHeaders(headers: ParsedHeaders): Promise<void> {
    const present = new Set(headers.parsed.map(({ key }) => key));
    const once = [
      ...oversigned,
      ...oversignedIfPresent.filter((name) => present.has(name.toLowerCase())),
    ];
    // mailauth builds h= from the bottom field up, so every further name after the topmost signed
    // field finds no field and counts as empty (RFC 6376 §5.4.2).
    const signed = new Set(signedNames.map((name) => name.toLowerCase()));
    const topmost = headers.parsed.find(({ key }) => signed.has(key));
    if (topmost !== undefined) topmost.casedKey = [topmost.casedKey, ...once].join(": ");
    await super.messageHeaders(headers);
  }
}
