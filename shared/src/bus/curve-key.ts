import { createPrivateKey, createPublicKey, generateKeyPairSync } from "node:crypto";
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { TerminalError, messageOf } from "../errors.ts";

/**
 * The keys of CURVE (RFC 26): 32 bytes of Curve25519, written in Z85 (RFC 32). A secret key lies in
 * a file of its own, in the form of CZMQ's certificates (ZPL, RFC 4).
 */

/** Both halves, each as 40 Z85 digits. */
export interface CurveKey {
  publicKey: string;
  secretKey: string;
}

const digits =
  "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
const keyBytes = 32;
/** What stands before the 32 bytes of a Curve25519 secret key in PKCS #8 (RFC 8410 §7). */
const pkcs8Prefix = Buffer.from("302e020100300506032b656e04220420", "hex");

/** @throws RangeError for bytes that are not a multiple of four */
export function encodeZ85(bytes: Uint8Array): string {
  if (bytes.length % 4 !== 0) throw new RangeError("Z85 takes four bytes at a time");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let text = "";
  for (let at = 0; at < bytes.length; at += 4) {
    const value = view.getUint32(at);
    for (const weight of [85 ** 4, 85 ** 3, 85 ** 2, 85, 1]) {
      text += digits.charAt(Math.floor(value / weight) % 85);
    }
  }
  return text;
}

/** Undefined for what is not Z85. */
export function decodeZ85(text: string): Buffer | undefined {
  if (text.length % 5 !== 0) return undefined;
  const bytes = Buffer.alloc((text.length / 5) * 4);
  for (let at = 0; at < text.length; at += 5) {
    let value = 0;
    for (const digit of text.slice(at, at + 5)) {
      const place = digits.indexOf(digit);
      if (place < 0) return undefined;
      value = value * 85 + place;
    }
    if (value > 0xffff_ffff) return undefined;
    bytes.writeUInt32BE(value, (at / 5) * 4);
  }
  return bytes;
}

/** True for the 40 Z85 digits of a key, public or secret. */
export function isCurveKey(text: string): boolean {
  return decodeZ85(text)?.length === keyBytes;
}

export function createCurveKey(): CurveKey {
  const { privateKey } = generateKeyPairSync("x25519");
  const der = privateKey.export({ format: "der", type: "pkcs8" });
  const secretKey = encodeZ85(der.subarray(-keyBytes));
  return { secretKey, publicKey: publicKeyOf(secretKey) };
}

/** The public half that belongs to a secret one. */
export function publicKeyOf(secretKey: string): string {
  const secret = decodeZ85(secretKey) ?? Buffer.alloc(0);
  const key = Buffer.concat([pkcs8Prefix, secret]);
  const privateKey = createPrivateKey({ key, format: "der", type: "pkcs8" });
  const der = createPublicKey(privateKey).export({ format: "der", type: "spki" });
  return encodeZ85(der.subarray(-keyBytes));
}

/** The text of a secret key's file. */
export function formatSecretFile(key: CurveKey, name: string, createdAt: Date): string {
  return [
    "#   A key of the rs-agent bus. Secret: only its own service may read this file.",
    "metadata",
    `    name = "${name}"`,
    `    created = "${createdAt.toISOString()}"`,
    "curve",
    `    public-key = "${key.publicKey}"`,
    `    secret-key = "${key.secretKey}"`,
    "",
  ].join("\n");
}

/**
 * Reads a secret key from its file, which others than its owner and group must not be able to read.
 * @throws TerminalError CFG_BUS_KEYS naming the file
 */
export function readSecretFile(path: string): CurveKey {
  const { text, mode } = readWithMode(path);
  if ((mode & 0o007) !== 0) {
    const shown = (mode & 0o777).toString(8).padStart(4, "0");
    throw keyError(path, `everybody on this host may read it (mode ${shown}): chmod 0600, or 0440`);
  }
  const secretKey = valueOf("secret-key", text);
  if (secretKey === undefined || !isCurveKey(secretKey)) {
    throw keyError(
      path,
      `holds no secret-key = "…" of 40 Z85 digits; the command keys makes such files`,
    );
  }
  const publicKey = publicKeyOf(secretKey);
  const noted = valueOf("public-key", text);
  if (noted !== undefined && noted !== publicKey) {
    throw keyError(path, "its public-key and its secret-key do not belong together");
  }
  return { publicKey, secretKey };
}

/** A key file or allow list that cannot be used. */
export function keyError(path: string, what: string, cause?: unknown): TerminalError {
  return new TerminalError("CFG_BUS_KEYS", `${path}: ${what}`, { cause });
}

function readWithMode(path: string): { text: string; mode: number } {
  let file: number | undefined;
  try {
    file = openSync(path, "r");
    return { mode: fstatSync(file).mode, text: readFileSync(file, "utf8") };
  } catch (error) {
    throw keyError(path, messageOf(error), error);
  } finally {
    if (file !== undefined) closeSync(file);
  }
}

function valueOf(name: string, text: string): string | undefined {
  return new RegExp(`^\\s*${name}\\s*=\\s*"([^"]*)"\\s*$`, "m").exec(text)?.[1];
}
