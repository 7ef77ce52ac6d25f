import { createRequire } from "node:module";
import type { Socket } from "node:net";

/** What we know of the driver's own connection (mongodb 7.9, lib/cmap/connection.js). */
interface DriverConnection {
  readonly socket: Socket;
  cleanup(error: Error): void;
}

const { Connection } = createRequire(import.meta.url)("mongodb/lib/cmap/connection.js") as {
  Connection: { readonly prototype: DriverConnection };
};

const driver = Connection.prototype;
// eslint-disable-next-line @typescript-eslint/unbound-method -- called below with its own `this`.
const { cleanup } = driver;

/**
 * The driver writes a command to its socket and, if that does not take all of it, waits for `drain`
 * or `error`. A socket that ends meanwhile, or ended a moment before, says neither: the command would
 * wait forever, past every time-out but `timeoutMS`. Woken up, it finds that its connection is closed.
 */
driver.cleanup = function (error) {
  cleanup.call(this, error);
  const { socket } = this;
  const wake = () => socket.emit("drain");
  socket.on("newListener", (event) => {
    if (event === "drain") process.nextTick(wake);
  });
  wake();
};
