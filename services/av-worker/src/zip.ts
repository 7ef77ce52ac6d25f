import { crc32, deflateRawSync } from "node:zlib";

/** One file of a zip archive. */
export interface ZipFile {
  name: string;
  content: Buffer;
  /**
   * The bytes to store in place of the content, marked as encrypted (traditional encryption). Bytes
   * that are not its ciphertext make a file that no password opens. Absent: the content, deflated.
   */
  sealed?: Buffer;
}

/** A zip archive (PKWARE APPNOTE 6.3): the files in their order, deflated, dated 1 January 1980. */
export function zip(files: readonly ZipFile[]): Buffer {
  const locals: Buffer[] = [];
  const centrals: Buffer[] = [];
  let offset = 0;
  for (const { name, content, sealed } of files) {
    const nameBytes = Buffer.from(name);
    const data = sealed ?? deflateRawSync(content);
    // Both headers have the same fields from "version needed" to "extra field length".
    const common = Buffer.alloc(26);
    common.writeUInt16LE(20, 0);
    common.writeUInt16LE(sealed === undefined ? 0 : 1, 2);
    common.writeUInt16LE(8, 4); // deflated
    common.writeUInt16LE(0x21, 8); // the earliest date that the format knows
    common.writeUInt32LE(crc32(content), 10);
    common.writeUInt32LE(data.length, 14);
    common.writeUInt32LE(content.length, 18);
    common.writeUInt16LE(nameBytes.length, 22);
    const rest = Buffer.alloc(14); // comment length, disk, attributes, offset of the local header
    rest.writeUInt32LE(offset, 10);
    const madeBy = Buffer.from([20, 0]);
    const local = Buffer.concat([number(0x04034b50), common, nameBytes, data]);
    locals.push(local);
    centrals.push(number(0x02014b50), madeBy, common, rest, nameBytes);
    offset += local.length;
  }
  const directory = Buffer.concat(centrals);
  const end = Buffer.alloc(18);
  end.writeUInt16LE(files.length, 4);
  end.writeUInt16LE(files.length, 6);
  end.writeUInt32LE(directory.length, 8);
  end.writeUInt32LE(offset, 12);
  return Buffer.concat([...locals, directory, number(0x06054b50), end]);
}

function number(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
