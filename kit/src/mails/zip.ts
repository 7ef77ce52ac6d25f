import { randomFillSync } from "node:crypto";
import { crc32, deflateRawSync } from "node:zlib";
import { zip, type ZipFile } from "@rs-agent/av-worker/zip.ts";

/**
 * A zip archive whose files are encrypted with a password by the traditional PKWARE method (APPNOTE
 * 6.1): what people send when they "encrypt" an attachment, and what no scanner can look into. The
 * caller may give the twelve bytes of salt, so that samples are the same each time.
 */
export function encryptedZip(
  files: readonly ZipFile[],
  password: string,
  salt: Buffer = randomFillSync(Buffer.alloc(12)),
): Buffer {
  return zip(
    files.map(({ name, content }) => ({
      name,
      content,
      sealed: encrypt(deflateRawSync(content), password, salt, crc32(content)),
    })),
  );
}

/** APPNOTE 6.1.5 and 6.1.6: twelve bytes, the last of which checks the password, then the data. */
function encrypt(data: Buffer, password: string, salt: Buffer, crc: number): Buffer {
  const keys = createKeys(password);
  const head = Buffer.from(salt.subarray(0, 12));
  head[11] = crc >>> 24;
  return Buffer.concat([head, data]).map((byte) => {
    const encrypted = byte ^ keys.stream();
    keys.update(byte);
    return encrypted;
  }) as Buffer;
}

function createKeys(password: string) {
  let first = 0x12345678;
  let second = 0x23456789;
  let third = 0x34567890;
  const update = (byte: number): void => {
    first = crcOfByte(first, byte);
    second = (Math.imul((second + (first & 0xff)) >>> 0, 134775813) + 1) >>> 0;
    third = crcOfByte(third, second >>> 24);
  };
  for (const byte of Buffer.from(password)) update(byte);
  return {
    update,
    stream: (): number => {
      const low = (third | 2) & 0xffff;
      return (Math.imul(low, low ^ 1) >>> 8) & 0xff;
    },
  };
}

/** One step of CRC-32, without the inversions that `crc32` makes at beginning and end. */
function crcOfByte(crc: number, byte: number): number {
  return ~crc32(Buffer.of(byte), ~crc >>> 0) >>> 0;
}
