import { BSON, type Document } from "mongodb";

/** Opcodes of the MongoDB wire protocol that carry commands and their replies. */
const opReply = 1;
const opMsg = 2013;

const headerBytes = 16;
const checksumPresent = 1;
const moreToCome = 2;

/** Nothing may change its type on its way through: no number becomes another one. */
const asItIs = { promoteValues: false, promoteBuffers: false } as const;
const unsaid = { ignoreUndefined: true } as const;

/** A client's command, as far as it can be told without reading what it carries. */
export interface Command {
  /** `insert`, `update`, `find`, `aggregate`, `getMore`, … */
  name: string;
  /** The collection that it is about, even for a `getMore`. */
  collection: string | undefined;
  requestId: number;
  /** The command's document, without the documents that follow in a section of their own. */
  body: Document;
  /** Those documents: what an `insert` inserts, the operations of an `update`. */
  sequence: () => Document[];
  /** The client wants no reply. */
  isUnacknowledged: boolean;
}

/** Cuts a stream of bytes into whole messages. */
export class MessageSplitter {
  #chunks: Buffer[] = [];
  #bytes = 0;

  /** The messages that this chunk completes. */
  push(chunk: Buffer): Buffer[] {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    const messages: Buffer[] = [];
    for (;;) {
      const wanted = this.#nextLength();
      if (wanted === undefined || this.#bytes < wanted) return messages;
      const whole = Buffer.concat(this.#chunks);
      messages.push(whole.subarray(0, wanted));
      this.#chunks = [whole.subarray(wanted)];
      this.#bytes -= wanted;
    }
  }

  #nextLength(): number | undefined {
    if (this.#bytes < headerBytes) return undefined;
    const [first] = this.#chunks;
    if (first !== undefined && first.length < 4) this.#chunks = [Buffer.concat(this.#chunks)];
    return this.#chunks[0]?.readInt32LE(0);
  }
}

/** The command in a client's message; undefined for another opcode, which only old clients use. */
export function commandIn(message: Buffer): Command | undefined {
  if (message.readInt32LE(12) !== opMsg) return undefined;
  const { body, sequences } = sectionsOf(message);
  if (body === undefined) return undefined;
  const document = BSON.deserialize(body);
  const [name = ""] = Object.keys(document);
  const named: unknown = name === "getMore" ? document.collection : document[name];
  return {
    name,
    collection: typeof named === "string" ? named : undefined,
    requestId: message.readInt32LE(4),
    body: document,
    sequence: () => sequences.map((bytes) => BSON.deserialize(bytes)),
    isUnacknowledged: (message.readUInt32LE(headerBytes) & moreToCome) !== 0,
  };
}

/** A client's command with another document and only these documents of its sequences. */
export function commandWith(
  message: Buffer,
  change: { body?: (body: Document) => Document; keep?: (index: number) => boolean },
): Buffer {
  const { body, sequences, identifier } = sectionsOf(message);
  if (body === undefined) return message;
  const { keep = () => true } = change;
  const document = BSON.deserialize(body, asItIs);
  const header = { requestId: message.readInt32LE(4), responseTo: 0, flags: 0 };
  const kept = sequences.filter((_, index) => keep(index));
  const changed = BSON.serialize(change.body?.(document) ?? document, unsaid);
  return opMsgOf(header, changed, identifier === undefined ? undefined : { identifier, kept });
}

/** The id of the request that a server's message answers. */
export function answeredBy(message: Buffer): number {
  return message.readInt32LE(8);
}

/** A reply as a server makes it; with `more`, others to the same command follow. */
export function replyTo(requestId: number, document: Document, more = false): Buffer {
  const header = { requestId: 0, responseTo: requestId, flags: more ? moreToCome : 0 };
  return opMsgOf(header, BSON.serialize(document, unsaid));
}

/** A server's reply with another document; a reply in an old opcode keeps its form. */
export function rewritten(message: Buffer, change: (reply: Document) => Document): Buffer {
  const opcode = message.readInt32LE(12);
  if (opcode === opReply) {
    const prefix = message.subarray(0, headerBytes + 20);
    const changed = change(BSON.deserialize(message.subarray(headerBytes + 20), asItIs));
    const whole = Buffer.concat([prefix, BSON.serialize(changed, unsaid)]);
    whole.writeInt32LE(whole.length, 0);
    return whole;
  }
  const { body } = sectionsOf(message);
  if (opcode !== opMsg || body === undefined) return message;
  const header = {
    requestId: message.readInt32LE(4),
    responseTo: message.readInt32LE(8),
    flags: message.readUInt32LE(headerBytes) & ~checksumPresent,
  };
  return opMsgOf(header, BSON.serialize(change(BSON.deserialize(body, asItIs)), unsaid));
}

function opMsgOf(
  { requestId, responseTo, flags }: { requestId: number; responseTo: number; flags: number },
  body: Uint8Array,
  sequence?: { identifier: Buffer; kept: readonly Buffer[] },
): Buffer {
  const after = sequence === undefined ? Buffer.alloc(0) : sectionOf(sequence);
  const message = Buffer.alloc(headerBytes + 5 + body.length + after.length);
  message.writeInt32LE(message.length, 0);
  message.writeInt32LE(requestId, 4);
  message.writeInt32LE(responseTo, 8);
  message.writeInt32LE(opMsg, 12);
  message.writeUInt32LE(flags, headerBytes);
  message.writeUInt8(0, headerBytes + 4);
  message.set(body, headerBytes + 5);
  message.set(after, headerBytes + 5 + body.length);
  return message;
}

/** A section of kind 1: its length, its identifier and its documents. */
function sectionOf({ identifier, kept }: { identifier: Buffer; kept: readonly Buffer[] }): Buffer {
  const section = Buffer.concat([Buffer.alloc(5), identifier, ...kept]);
  section.writeUInt8(1, 0);
  section.writeInt32LE(section.length - 1, 1);
  return section;
}

interface Sections {
  body: Buffer | undefined;
  sequences: Buffer[];
  /** The name of the sequence: `documents`, `updates`, …, with its final zero. */
  identifier: Buffer | undefined;
}

/**
 * The sections of an OP_MSG: the one document (kind 0), and the sequence (kind 1), all as bytes.
 */
function sectionsOf(message: Buffer): Sections {
  const flags = message.readUInt32LE(headerBytes);
  const end = message.length - ((flags & checksumPresent) === 0 ? 0 : 4);
  let body: Buffer | undefined;
  let identifier: Buffer | undefined;
  const sequences: Buffer[] = [];
  for (let at = headerBytes + 4; at < end;) {
    const kind = message.readUInt8(at);
    const length = message.readInt32LE(at + 1);
    const section = message.subarray(at + 1, at + 1 + length);
    if (kind === 0) {
      body = section;
    } else {
      identifier = section.subarray(4, section.indexOf(0, 4) + 1);
      sequences.push(...documentsIn(section));
    }
    at += 1 + length;
  }
  return { body, sequences, identifier };
}

/** The documents of a sequence, after its length and its name. */
function documentsIn(section: Buffer): Buffer[] {
  const documents: Buffer[] = [];
  for (let at = section.indexOf(0, 4) + 1; at < section.length;) {
    const length = section.readInt32LE(at);
    documents.push(section.subarray(at, at + length));
    at += length;
  }
  return documents;
}
