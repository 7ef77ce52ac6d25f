import { createSocket } from "node:dgram";
import { once } from "node:events";

const types: Readonly<Record<number, string>> = {
  1: "A",
  12: "PTR",
  15: "MX",
  16: "TXT",
  28: "AAAA",
};

/**
 * Answers by `TYPE name`. A name that exists under another type only has no data; any other does
 * not exist.
 */
export type Records = Readonly<Record<string, readonly string[]>>;

/** RFC 1035 §4.1.1. */
const responseCodes = { NOERROR: 0, SERVFAIL: 2, NXDOMAIN: 3, REFUSED: 5 } as const;

export interface NameServerOptions {
  /** Asked before each answer, with `TYPE name`: an error in place of the answer, or silence. */
  trouble?: (question: string) => "SERVFAIL" | "REFUSED" | "silent" | undefined;
}

export interface NameServer extends AsyncDisposable {
  /** In the form that DNS_SERVERS takes. */
  readonly address: string;
  /** Every question so far, as `TYPE name`. */
  readonly asked: readonly string[];
  close(): Promise<void>;
}

/** A name server (RFC 1035, UDP) on loopback that knows a few records. */
export async function startNameServer(
  records: Records,
  { trouble = () => undefined }: NameServerOptions = {},
): Promise<NameServer> {
  const asked: string[] = [];
  const socket = createSocket("udp4");
  socket.on("message", (query, { address, port }) => {
    const { question, type, bytes } = questionIn(query);
    asked.push(question);
    const wrong = trouble(question);
    if (wrong === "silent") return;
    const found = wrong === undefined ? (records[question] ?? []) : [];
    const answers = found.map((value) => resourceRecord(bytes, type, value));
    const code = wrong ?? codeFor(records, question);
    socket.send(answerTo(query, bytes, code, answers), port, address);
  });
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  const close = () => socket[Symbol.asyncDispose]();
  const { port } = socket.address();
  return { address: `127.0.0.1:${port}`, asked, close, [Symbol.asyncDispose]: close };
}

function codeFor(records: Records, question: string): keyof typeof responseCodes {
  const [, name = ""] = question.split(" ");
  const isThere = Object.keys(records).some((known) => known.split(" ")[1] === name);
  return isThere ? "NOERROR" : "NXDOMAIN";
}

function questionIn(query: Buffer): { question: string; type: string; bytes: Buffer } {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString("latin1", at + 1, at + 1 + length));
    at += length + 1;
  }
  const number = query.readUInt16BE(at + 1);
  const type = types[number] ?? String(number);
  const question = `${type} ${labels.join(".").toLowerCase()}`;
  return { question, type, bytes: query.subarray(12, at + 5) };
}

function answerTo(
  query: Buffer,
  question: Buffer,
  code: keyof typeof responseCodes,
  answers: Buffer[],
): Buffer {
  const head = Buffer.from(query.subarray(0, 12));
  // A response, with recursion desired and available.
  head.writeUInt16BE(0x8180 | responseCodes[code], 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(answers.length, 6);
  head.writeUInt32BE(0, 8);
  return Buffer.concat([head, question, ...answers]);
}

function resourceRecord(question: Buffer, type: string, value: string): Buffer {
  const data = dataOf(type, value);
  const fixed = Buffer.alloc(10);
  question.subarray(-4).copy(fixed);
  fixed.writeUInt32BE(60, 4);
  fixed.writeUInt16BE(data.length, 8);
  // A pointer to the name in the question (RFC 1035 §4.1.4).
  return Buffer.concat([Buffer.of(0xc0, 12), fixed, data]);
}

function dataOf(type: string, value: string): Buffer {
  switch (type) {
    case "PTR":
      return encodedName(value);
    case "MX": {
      const [preference = "0", name = ""] = value.split(" ");
      return Buffer.concat([Buffer.of(0, Number(preference)), encodedName(name)]);
    }
    case "TXT": {
      // Strings of at most 255 bytes each (RFC 1035 §3.3.14).
      const strings = value.match(/.{1,255}/gs) ?? [""];
      return Buffer.concat(strings.flatMap((text) => [Buffer.of(text.length), Buffer.from(text)]));
    }
    default:
      return Buffer.from(value.split(".").map(Number));
  }
}

function encodedName(name: string): Buffer {
  const labels = name.split(".").map((label) => Buffer.from(label));
  return Buffer.concat([
    ...labels.flatMap((label) => [Buffer.of(label.length), label]),
    Buffer.of(0),
  ]);
}
