/** A header field: name and body, already encoded and folded as it is to appear. */
export type Field = readonly [name: string, body: string];

/** A MIME entity: its header and its body, with CRLF line ends. */
export interface Entity {
  fields: readonly Field[];
  /** Bytes as in the mail, transfer encoding applied. */
  body: Buffer;
}

/** Text with CRLF line ends, as bytes. */
export function crlf(text: string, encoding: BufferEncoding = "utf8"): Buffer {
  return Buffer.from(text.replace(/\r?\n/g, "\r\n"), encoding);
}

/** The entity as it appears in a mail: header, empty line, body. */
export function entityBytes({ fields, body }: Entity): Buffer {
  const header = fields.map(([name, value]) => `${name}: ${value}\n`).join("");
  return Buffer.concat([crlf(`${header}\n`), body]);
}

/** A part of plain US-ASCII or 8-bit text. */
export function textPart(text: string, type = "text/plain; charset=utf-8"): Entity {
  const body = crlf(text);
  const encoding = /^[\0-\x7f]*$/.test(text) ? "7bit" : "8bit";
  return { fields: [contentType(type), ["Content-Transfer-Encoding", encoding]], body };
}

/** A part in base64 (RFC 2045 §6.8). */
export function base64Part(type: string, content: Buffer, more: readonly Field[] = []): Entity {
  const fields: Field[] = [contentType(type), ["Content-Transfer-Encoding", "base64"], ...more];
  return { fields, body: base64Lines(content) };
}

export function attachment(type: string, fileName: string, content: Buffer): Entity {
  return base64Part(`${type}; name="${fileName}"`, content, [
    ["Content-Disposition", `attachment; filename="${fileName}"`],
  ]);
}

/** A multipart entity (RFC 2046 §5.1); `type` is what precedes the boundary parameter. */
export function multipart(type: string, boundary: string, parts: readonly Entity[]): Entity {
  const pieces = parts.flatMap((part) => [crlf(`--${boundary}\n`), entityBytes(part), crlf("\n")]);
  return {
    fields: [contentType(`${type};\n boundary="${boundary}"`)],
    body: Buffer.concat([...pieces, crlf(`--${boundary}--\n`)]),
  };
}

function contentType(type: string): Field {
  return ["Content-Type", type];
}

/** Lines of 76 characters, as mail programs write them. */
function base64Lines(content: Buffer): Buffer {
  const text = content.toString("base64");
  const lines: string[] = [];
  for (let at = 0; at < text.length; at += 76) lines.push(text.slice(at, at + 76));
  return Buffer.from(`${lines.join("\r\n")}\r\n`, "latin1");
}
