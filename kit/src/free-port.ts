import { randomInt } from "node:crypto";
import { once } from "node:events";
import { connect, createServer } from "node:net";

/**
 * Below the ports that Linux gives to outgoing connections (32768 and above), so none of those
 * takes it first.
 */
const ports = { from: 12_000, below: 32_000 } as const;

/**
 * A port of 127.0.0.1 that was free a moment ago, for servers that cannot bind port 0 or must come
 * back at the same address after a restart. Another server may take it first: then try again.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = randomInt(ports.from, ports.below);
    if (await isFree(port)) return port;
  }
}

/** True if nothing listens there now. */
export async function isFree(port: number, host = "127.0.0.1"): Promise<boolean> {
  const server = createServer().listen(port, host);
  try {
    await once(server, "listening");
  } catch {
    return false;
  }
  server.close();
  await once(server, "close");
  return true;
}

/** Whether something on this host takes connections on that port. */
export function listens(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.end();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}
