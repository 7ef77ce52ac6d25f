import { randomFillSync } from "node:crypto";
import { crc32, deflateRawSync } from "node:zlib";

/** One file of a zip archive. */
export interface ZipFile {
  name: string;
  content: Buffer;
}

const localHeader = 0x04034b50;
const centralHeader = 0x02014b50;
const endOfCentralDirectory = 0x06054b50;
const deflated = 8;
/** Bit 0 of the general purpose flags: the file is encrypted. */
const encryptedFlag = 1;
/** 1 January 1980, the earliest date that the format knows: the archive does not depend on the clock. */
const dosDate = 0x21;

/** A zip archive (PKWARE APPNOTE 6.3): files deflated, in their order. */
export function zip(files: readonly ZipFile[]): Buffer {
  return archive(files.map((file) => ({ file, flags: 0, data: deflateRawSync(file.content) })));
}

/**
 * A zip archive whose files are encrypted with a password by the traditional PKWARE method (APPNOTE
 * 6.1): what people send when they "encrypt" an attachment, and what no scanner can look into. The
 * twelve bytes of salt are the caller's, so that samples can be the same each time.
 */
export function encryptedZip(
  files: readonly ZipFile[],
  password: string,
  salt: Buffer = randomFillSync(Buffer.alloc(12)),
): Buffer {
  return archive(
    files.map((file) => ({
      file,
      flags: encryptedFlag,
      data: encrypt(deflateRawSync(file.content), password, salt, crc32(file.content)),
    })),
  );
}

interface Entry {
  file: ZipFile;
  flags: number;
  data: Buffer;
}

function archive(entries: readonly Entry[]): Buffer {
  const locals: Buffer[] = [];
  const centrals: Buffer[] = [];
  let offset = 0;
  for (const entry of entries) {
    const local = Buffer.concat([header(entry), Buffer.from(entry.file.name), entry.data]);
    centrals.push(centralEntry(entry, offset));
    locals.push(local);
    offset += local.length;
  }
  const directory = Buffer.concat(centrals);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(endOfCentralDirectory, 0);
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(directory.length, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...locals, directory, end]);
}

function header(entry: Entry): Buffer {
  const bytes = Buffer.alloc(30);
  bytes.writeUInt32LE(localHeader, 0);
  commonFields(entry).copy(bytes, 4);
  return bytes;
}

function centralEntry(entry: Entry, offset: number): Buffer {
  const bytes = Buffer.alloc(46);
  bytes.writeUInt32LE(centralHeader, 0);
  bytes.writeUInt16LE(20, 4);
  commonFields(entry).copy(bytes, 6);
  bytes.writeUInt32LE(offset, 42);
  return Buffer.concat([bytes, Buffer.from(entry.file.name)]);
}

/** The 26 bytes that a local header and an entry of the directory have in common. */
function commonFields({ file, flags, data }: Entry): Buffer {
  const bytes = Buffer.alloc(26);
  bytes.writeUInt16LE(20, 0);
  bytes.writeUInt16LE(flags, 2);
  bytes.writeUInt16LE(deflated, 4);
  bytes.writeUInt16LE(dosDate, 8);
  bytes.writeUInt32LE(crc32(file.content), 10);
  bytes.writeUInt32LE(data.length, 14);
  bytes.writeUInt32LE(file.content.length, 18);
  bytes.writeUInt16LE(Buffer.byteLength(file.name), 22);
  return bytes;
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

/** One step of CRC-32 without the inversion at begin and end that `crc32` makes. */
function crcOfByte(crc: number, byte: number): number {
  return ~crc32(Buffer.of(byte), ~crc >>> 0) >>> 0;
}
