import { decodeQuotedPrintable, encodeQuotedPrintable } from "./quoted-printable.ts";

/** A part's body, decoded from its transfer encoding and open to an insertion. */
export interface PartBody {
  decoded: Buffer;
  /**
   * The encoded body with `bytes` before the decoded offset `at`. If the encoding allows it,
   * what is there keeps its encoded form. `bytes` begin at a line's start or with a CRLF.
   */
  insert(at: number, bytes: Buffer): Buffer;
}

/** Encodings that leave the bytes as they are (RFC 2045 §6.2). */
export const identityEncodings: readonly string[] = ["", "7bit", "8bit", "binary"];

/** Opens a body; undefined if the encoding is unknown or the body breaks its rules. */
export function openPartBody(body: Buffer, encoding: string): PartBody | undefined {
  if (identityEncodings.includes(encoding)) {
    return {
      decoded: body,
      insert: (at, bytes) => Buffer.concat([body.subarray(0, at), bytes, body.subarray(at)]),
    };
  }
  if (encoding === "quoted-printable") return quotedPrintableBody(body);
  return encoding === "base64" ? base64Body(body) : undefined;
}

function quotedPrintableBody(body: Buffer): PartBody {
  const { bytes: decoded, offsets } = decodeQuotedPrintable(body);
  return {
    decoded,
    insert: (at, bytes) => {
      const offset = offsets[at] as number;
      const encoded = encodeQuotedPrintable(bytes);
      return Buffer.concat([body.subarray(0, offset), encoded, body.subarray(offset)]);
    },
  };
}

/** Base64 must be encoded again, so only a body that encodes to itself again is opened. */
function base64Body(body: Buffer): PartBody | undefined {
  const text = body.toString("latin1").replace(/[\r\n\t ]+/g, "");
  const decoded = Buffer.from(text, "base64");
  if (decoded.toString("base64") !== text) return undefined;
  return {
    decoded,
    insert: (at, bytes) =>
      encodeBase64(Buffer.concat([decoded.subarray(0, at), bytes, decoded.subarray(at)])),
  };
}

function encodeBase64(bytes: Buffer): Buffer {
  const lines = bytes.toString("base64").match(/.{1,76}/g) ?? [];
  return Buffer.from(lines.map((line) => `${line}\r\n`).join(""), "latin1");
}
