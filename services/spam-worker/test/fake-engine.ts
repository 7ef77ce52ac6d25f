import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";

export interface FakeRequest {
  method: string;
  headers: Map<string, string>;
  body: string;
  /** The head as it came. */
  head: string;
}

/**
 * What a real engine cannot be made to do: send any bytes in any pieces, then be silent, close or
 * reset.
 */
export interface Fault {
  chunks: readonly (string | Buffer)[];
  /** `drip`: one byte every few milliseconds, forever. */
  then: "close" | "hang" | "reset" | "drip";
}

export interface FakeEngine extends AsyncDisposable {
  address: string;
  requests: FakeRequest[];
  /** How many connections are open now, and the most that were ever open at once. */
  open(): number;
  mostOpen(): number;
  close(): Promise<void>;
}

/**
 * Takes over the answer to a request, perhaps after a while; undefined sends the ordinary answer.
 */
export type Script = (request: FakeRequest) => Fault | undefined | Promise<Fault | undefined>;

/**
 * Answers one request per connection; with `keeps` it goes on reading after its ordinary answers.
 * Without `allowHalfOpen` it closes when the client does.
 */
export async function startFakeEngine(
  ordinaryAnswer: (request: FakeRequest) => string,
  fault: Script,
  { port = 0, keeps = false, allowHalfOpen = true } = {},
): Promise<FakeEngine> {
  const sockets = new Set<Socket>();
  const requests: FakeRequest[] = [];
  let mostOpen = 0;
  const server = createServer({ allowHalfOpen }, (socket) => {
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
      answered = !keeps;
      if (keeps) text = "";
      requests.push(request);
      void Promise.resolve(fault(request)).then((scripted) => {
        if (scripted !== undefined) playFault(socket, scripted);
        else if (keeps) socket.write(ordinaryAnswer(request), "latin1");
        else socket.end(ordinaryAnswer(request), "latin1");
      });
    });
  });
  server.listen(port, "127.0.0.1");
  await once(server, "listening");
  const close = async () => {
    for (const socket of sockets) socket.destroy();
    if (!server.listening) return;
    server.close();
    await once(server, "close");
  };
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    open: () => sockets.size,
    mostOpen: () => mostOpen,
    close,
    [Symbol.asyncDispose]: close,
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
  const length = Number(headers.get("Content-length") ?? headers.get("Content-Length") ?? 0);
  const body = text.slice(end + 4, end + 4 + length);
  return body.length < length
    ? undefined
    : {
        method: first.split(" ")[0] ?? "",
        headers,
        body,
        head: text.slice(0, end),
      };
}
