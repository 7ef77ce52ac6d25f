import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { gtube } from "@rs-agent/spam-worker/canary.ts";
import { engineVersion } from "./spam-engine-version.ts";

/**
 * A program: an engine that speaks spamd's protocol (SpamAssassin's spamd/PROTOCOL) and knows GTUBE
 * only. SpamAssassin itself makes some 20 checks a second, so most mail of a run is judged here.
 * Standard output says first where it listens, then the id of each mail whose check was answered.
 */
const workMs = 60;
const maxRequestBytes = 2_000_000;

const server = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on("error", () => socket.destroy());
  serve(socket).catch(() => socket.destroy());
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
const { port } = server.address() as AddressInfo;
process.stdout.on("error", () => server.close());
process.stdout.write(`127.0.0.1:${port}\n`);

async function serve(socket: Socket): Promise<void> {
  const request = await requestOn(socket);
  if (request === undefined) {
    socket.end("SPAMD/1.0 76 Bad header line\r\n");
    return;
  }
  await wait(workMs);
  const finished = once(socket, "finish");
  socket.end(answerTo(request), "latin1");
  await finished;
  const mailId = /\(rs-agent\) with \S+ id ([0-9a-z]+)/.exec(request.mail.slice(0, 4_000))?.[1];
  if (mailId !== undefined) process.stdout.write(`${mailId}\n`);
}

interface Request {
  method: string;
  mail: string;
}

/** A client ends its side when all is said. */
async function requestOn(socket: Socket): Promise<Request | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  socket.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size <= maxRequestBytes) chunks.push(chunk);
  });
  await once(socket, "end");
  const text = Buffer.concat(chunks).toString("latin1");
  const end = text.indexOf("\r\n\r\n");
  const method = /^([A-Z]+) SPAMC\//.exec(text)?.[1];
  const length = Number(/^Content-length: (\d+)\r$/im.exec(text.slice(0, end + 2))?.[1] ?? 0);
  const mail = text.slice(end + 4);
  return method === undefined || mail.length !== length ? undefined : { method, mail };
}

function answerTo({ method, mail }: Request): string {
  const isSpam = mail.includes(gtube());
  const score = isSpam ? "Spam: True ; 1000.1 / 5.0" : "Spam: False ; 0.1 / 5.0";
  const body =
    method === "HEADERS"
      ? `X-Spam-Checker-Version: SpamAssassin ${engineVersion}\r\n\r\n`
      : report(isSpam);
  return `SPAMD/1.1 0 EX_OK\r\nContent-length: ${body.length}\r\n${score}\r\n\r\n${body}`;
}

function report(isSpam: boolean): string {
  return [
    "Content analysis details:",
    "",
    " pts rule name              description",
    "---- ---------------------- --------------------------------------------------",
    ...(isSpam
      ? ["1000 GTUBE                  BODY: Generic Test for Unsolicited Bulk Email"]
      : []),
    " 0.1 RDNS_NONE              Delivered to internal network by a host with no rDNS",
    "",
    "",
  ].join("\n");
}
