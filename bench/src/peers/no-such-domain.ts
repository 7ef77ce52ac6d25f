import { createSocket } from "node:dgram";

/**
 * A DNS server for peers that ask one. It answers immediately that the name does not exist (RFC
 * 1035 §4.1.1: RCODE 3), so that no time-out is measured and nothing leaves this host. A program of
 * its own: writes its port to standard output and ends when standard input does.
 */
const nameError = 3;
const headerBytes = 12;

const socket = createSocket("udp4");
socket.on("message", (query, { address, port }) => {
  if (query.length < headerBytes) return;
  const reply = Buffer.from(query.subarray(0, endOfQuestion(query)));
  // QR and RA set, Opcode and RD as in the query; one question and no records.
  reply.writeUInt8(0x80 | (query.readUInt8(2) & 0x79), 2);
  reply.writeUInt8(0x80 | nameError, 3);
  reply.writeUInt16BE(1, 4);
  reply.fill(0, 6, headerBytes);
  socket.send(reply, port, address);
});
socket.bind(0, "127.0.0.1", () => process.stdout.write(`${socket.address().port}\n`));
process.stdin.on("end", () => socket.close());
process.stdin.resume();

/** Where the first question (name, type and class) ends. */
function endOfQuestion(query: Buffer): number {
  let at = headerBytes;
  while (at < query.length && query[at] !== 0) at += (query[at] ?? 0) + 1;
  return Math.min(at + 5, query.length);
}
