import { crc32, deflateRawSync } from "node:zlib";

/**
 * A zip archive of one file (APPNOTE.TXT of PKWARE, 4.3). `sealed` sets the flag of traditional
 * encryption: its content then is what it is, and no password opens it.
 */
export function zipOf(name: string, content: Buffer, options?: { sealed: boolean }): Buffer {
  const sealed = options?.sealed === true;
  const data = sealed ? content : deflateRawSync(content);
  const nameBytes = Buffer.from(name, "latin1");
  const common = commonFields(content, data, { sealed, nameLength: nameBytes.length });
  const local = Buffer.concat([signature(0x04034b50), common, nameBytes, data]);
  const madeBy = Buffer.from([20, 0]);
  const central = Buffer.concat([
    signature(0x02014b50),
    madeBy,
    common,
    Buffer.alloc(14), // comment length, disk, attributes, and offset 0 of the local header
    nameBytes,
  ]);
  return Buffer.concat([local, central, endOfDirectory(central.length, local.length)]);
}

/** What the local and the central header share: from "version needed" to "extra field length". */
function commonFields(
  content: Buffer,
  data: Buffer,
  { sealed, nameLength }: { sealed: boolean; nameLength: number },
): Buffer {
  const fields = Buffer.alloc(26);
  fields.writeUInt16LE(20, 0);
  fields.writeUInt16LE(sealed ? 1 : 0, 2);
  fields.writeUInt16LE(sealed ? 0 : 8, 4); // stored, or deflated
  fields.writeUInt16LE(0x21, 8); // 1980-01-01
  fields.writeUInt32LE(crc32(content), 10);
  fields.writeUInt32LE(data.length, 14);
  fields.writeUInt32LE(sealed ? content.length - 12 : content.length, 18);
  fields.writeUInt16LE(nameLength, 22);
  return fields;
}

function endOfDirectory(directoryBytes: number, offset: number): Buffer {
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x06054b50, 0);
  end.writeUInt16LE(1, 8);
  end.writeUInt16LE(1, 10);
  end.writeUInt32LE(directoryBytes, 12);
  end.writeUInt32LE(offset, 16);
  return end;
}

function signature(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}
