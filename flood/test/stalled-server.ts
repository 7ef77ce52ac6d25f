import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";

/** An SMTP server that can be told to stand still: it takes what comes and answers nothing. */
export interface StalledServer {
  readonly port: number;
  stall(): void;
  goOn(): void;
  close(): Promise<void>;
}

export async function startStalledServer(): Promise<StalledServer> {
  let stalled = false;
  let held: (() => void)[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("error", () => undefined).on("close", () => sockets.delete(socket));
    const answer = (text: string) => {
      const write = () => void socket.write(`${text}\r\n`);
      if (stalled) held.push(write);
      else write();
    };
    let input = "";
    let inData = false;
    answer("220 stalled.example");
    socket.on("data", (chunk) => {
      input += chunk.toString("latin1");
      for (let end = input.indexOf("\r\n"); end >= 0; end = input.indexOf("\r\n")) {
        const line = input.slice(0, end);
        input = input.slice(end + 2);
        if (inData && line !== ".") continue;
        inData = line === "DATA";
        answer(line === "DATA" ? "354 go on" : "250 yes");
      }
    });
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return {
    port: (server.address() as AddressInfo).port,
    stall: () => (stalled = true),
    goOn() {
      stalled = false;
      for (const write of held.splice(0)) write();
      held = [];
    },
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, "close");
    },
  };
}
