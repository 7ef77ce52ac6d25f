import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { gtube } from "../src/canary.ts";

export interface FakeRequest {
  method: string;
  headers: Map<string, string>;
  body: string;
}

/** What a real spamd cannot be made to do: any bytes in any pieces, then silence, an end or a reset. */
export interface Fault {
  chunks: readonly (string | Buffer)[];
  /** `drip`: a byte every few milliseconds, for ever. */
  then: "close" | "hang" | "reset" | "drip";
}

export interface FakeSpamd {
  address: string;
  requests: FakeRequest[];
  /** Connections that are open now, and the most there ever were at once. */
  open(): number;
  mostOpen(): number;
  close(): Promise<void>;
}

/**
 * Speaks spamd/PROTOCOL as spamd 4.0 does. `fault` may take over the answer to any request, and may
 * wait before it does: undefined lets the ordinary answer go.
 */
export async function startFakeSpamd(
  fault: (request: FakeRequest) => Fault | undefined | Promise<Fault | undefined> = () => undefined,
  port = 0,
): Promise<FakeSpamd> {
  const sockets = new Set<Socket>();
  const requests: FakeRequest[] = [];
  const learned = new Map<string, string>();
  let mostOpen = 0;
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    sockets.add(socket);
    mostOpen = Math.max(mostOpen, sockets.size);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => undefined);
    let text = "";
    let answered = false;
    socket.setEncoding("latin1").on("data", (chunk: string) => {
      text += chunk;
      const request = parseRequest(text);
      if (request === undefined || answered) return;
      answered = true;
      requests.push(request);
      void Promise.resolve(fault(request)).then((scripted) => {
        if (scripted === undefined) socket.end(ordinaryAnswer(request, learned), "latin1");
        else playFault(socket, scripted);
      });
    });
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    open: () => sockets.size,
    mostOpen: () => mostOpen,
    close: async () => {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}

function playFault(socket: Socket, { chunks, then }: Fault): void {
  for (const chunk of chunks) socket.write(chunk);
  if (then === "close") socket.end();
  if (then === "reset") socket.resetAndDestroy();
  if (then !== "drip") return;
  const dripping = setInterval(() => socket.write("."), 5);
  socket.once("close", () => clearInterval(dripping));
}

function parseRequest(text: string): FakeRequest | undefined {
  const end = text.indexOf("\r\n\r\n");
  if (end < 0) return undefined;
  const [first = "", ...lines] = text.slice(0, end).split("\r\n");
  const headers = new Map(lines.map((line) => line.split(/:\s*/, 2) as [string, string]));
  const length = Number(headers.get("Content-length") ?? 0);
  const body = text.slice(end + 4, end + 4 + length);
  return body.length < length ? undefined : { method: first.split(" ")[0] ?? "", headers, body };
}

function ordinaryAnswer(request: FakeRequest, learned: Map<string, string>): string {
  const spam = request.body.includes(gtube());
  const score = spam ? "Spam: True ; 1000.1 / 5.0" : "Spam: False ; 0.1 / 5.0";
  const reply = (body: string) =>
    `SPAMD/1.1 0 EX_OK\r\nContent-length: ${body.length}\r\n${score}\r\n\r\n${body}`;
  switch (request.method) {
    case "PING":
      return "SPAMD/1.5 0 PONG\r\n";
    case "CHECK":
      return `SPAMD/1.1 0 EX_OK\r\n${score}\r\n\r\n`;
    case "SYMBOLS":
      return reply(spam ? "GTUBE,RDNS_NONE" : "RDNS_NONE");
    case "REPORT":
      return reply(report(spam));
    case "HEADERS":
      return reply("X-Spam-Checker-Version: SpamAssassin 4.0.1 (2024-03-25) on fake\r\n\r\n");
    case "TELL":
      return `SPAMD/1.1 0 EX_OK\r\n${tell(request, learned)}\r\n\r\n`;
    default:
      return `SPAMD/1.0 76 Bad header line: ${request.method}\r\n`;
  }
}

function report(spam: boolean): string {
  return [
    "Content analysis details:",
    "",
    " pts rule name              description",
    "---- ---------------------- --------------------------------------------------",
    ...(spam ? ["1000 GTUBE                  BODY: Generic Test for Unsolicited Bulk Email"] : []),
    " 0.1 RDNS_NONE              Delivered to internal network by a host with no rDNS",
    "",
    "",
  ].join("\n");
}

function tell(request: FakeRequest, learned: Map<string, string>): string {
  const known = learned.get(request.body);
  const wanted = request.headers.get("Message-class");
  if (request.headers.has("Set") && wanted !== undefined && wanted !== known) {
    learned.set(request.body, wanted);
    return "DidSet: local\r\n";
  }
  if (request.headers.get("Remove") === "local" && learned.delete(request.body)) {
    return "DidRemove: local\r\n";
  }
  return "";
}
