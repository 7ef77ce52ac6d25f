import { once } from "node:events";
import { createServer, type AddressInfo } from "node:net";

/**
 * A port of 127.0.0.1 that was free a moment ago, for servers that cannot bind port 0 or have to
 * come back to the same address after a restart. Another process may take it first: try again then.
 */
export async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
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
