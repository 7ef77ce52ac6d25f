import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";

/** A TCP proxy that a test can make go away, or go silent, and come back. */
export interface CuttableProxy {
  /** `127.0.0.1:port` */
  address: string;
  /** Ends all connections and refuses new ones. */
  cut(): void;
  /** Keeps all connections and passes nothing on. */
  silence(): void;
  restore(): void;
  close(): Promise<void>;
}

export async function startCuttableProxy(target: string): Promise<CuttableProxy> {
  const [host = "", port = ""] = target.split(":");
  const pairs = new Set<[Socket, Socket]>();
  let mode: "open" | "cut" | "silent" = "open";
  const server = createServer((near) => {
    near.on("error", () => near.destroy());
    if (mode === "cut") {
      near.destroy();
      return;
    }
    const far = connect({ host, port: Number(port) });
    const pair: [Socket, Socket] = [near, far];
    pairs.add(pair);
    const end = () => {
      near.destroy();
      far.destroy();
      pairs.delete(pair);
    };
    for (const socket of pair) socket.on("error", end).on("close", end);
    near.on("data", (chunk) => mode === "silent" || far.write(chunk));
    far.on("data", (chunk) => mode === "silent" || near.write(chunk));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const endAll = () => {
    for (const [near, far] of [...pairs]) {
      near.destroy();
      far.destroy();
    }
  };
  return {
    address: `127.0.0.1:${(server.address() as AddressInfo).port}`,
    cut: () => {
      mode = "cut";
      endAll();
    },
    silence: () => {
      mode = "silent";
    },
    restore: () => {
      // What was swallowed is missing from the streams: only new connections make sense again.
      if (mode === "silent") endAll();
      mode = "open";
    },
    close: async () => {
      endAll();
      server.close();
      await once(server, "close");
    },
  };
}
