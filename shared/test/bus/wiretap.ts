import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { onTestFinished } from "vitest";

/** A TCP proxy that keeps every byte of both directions. */
export async function openWiretap(
  target: string,
): Promise<{ endpoint: string; captured(): Buffer }> {
  const { hostname: host, port } = new URL(target);
  const bytes: Buffer[] = [];
  const sockets = new Set<Socket>();
  const keep = (from: Socket, to: Socket) => {
    sockets.add(from);
    from.on("data", (chunk: Buffer) => {
      bytes.push(chunk);
      to.write(chunk);
    });
    from.on("error", () => to.destroy());
    from.on("close", () => to.destroy());
  };
  const server = createServer((client) => {
    const upstream = connect(Number(port), host);
    keep(client, upstream);
    keep(upstream, client);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(async () => {
    for (const socket of sockets) socket.destroy();
    server.close();
    await once(server, "close");
  });
  const { port: own } = server.address() as AddressInfo;
  const endpoint = `tcp://127.0.0.1:${String(own)}`;
  return { endpoint, captured: () => Buffer.concat(bytes) };
}
