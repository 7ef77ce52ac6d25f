import { createSocket } from "node:dgram";
import { once } from "node:events";

const types: Record<number, "A" | "PTR" | "AAAA"> = { 1: "A", 12: "PTR", 28: "AAAA" };

/** Answers by `TYPE name`: names for PTR, addresses for A; what is not there is NXDOMAIN. */
export type Records = Record<string, string[]>;

/** A name server (RFC 1035) on loopback that knows a few records. */
export async function startNameServer(
  records: Records,
): Promise<{ address: string; close(): Promise<void> }> {
  const socket = createSocket("udp4");
  socket.on("message", (query, { address, port }) => {
    socket.send(answerTo(query, records), port, address);
  });
  socket.bind(0, "127.0.0.1");
  await once(socket, "listening");
  return {
    address: `127.0.0.1:${socket.address().port}`,
    close: async () => {
      socket.close();
      await once(socket, "close");
    },
  };
}

function answerTo(query: Buffer, records: Records): Buffer {
  const labels: string[] = [];
  let at = 12;
  for (let length = query[at] ?? 0; length > 0; length = query[at] ?? 0) {
    labels.push(query.toString("latin1", at + 1, at + 1 + length));
    at += length + 1;
  }
  const question = query.subarray(12, at + 5);
  const type = types[query.readUInt16BE(at + 1)] ?? "";
  const found = records[`${type} ${labels.join(".").toLowerCase()}`] ?? [];
  const head = Buffer.from(query.subarray(0, 12));
  head.writeUInt16BE(found.length > 0 ? 0x8180 : 0x8183, 2);
  head.writeUInt16BE(1, 4);
  head.writeUInt16BE(found.length, 6);
  head.writeUInt32BE(0, 8);
  return Buffer.concat([head, question, ...found.map((value) => record(question, type, value))]);
}

function record(question: Buffer, type: string, value: string): Buffer {
  const data = type === "PTR" ? encodedName(value) : Buffer.from(value.split(".").map(Number));
  const fixed = Buffer.alloc(8);
  question.subarray(-4).copy(fixed);
  fixed.writeUInt32BE(60, 4);
  const length = Buffer.alloc(2);
  length.writeUInt16BE(data.length);
  return Buffer.concat([Buffer.of(0xc0, 12), fixed, length, data]);
}

function encodedName(name: string): Buffer {
  const labels = name.split(".").map((label) => Buffer.from(label));
  return Buffer.concat([
    ...labels.flatMap((label) => [Buffer.of(label.length), label]),
    Buffer.of(0),
  ]);
}
