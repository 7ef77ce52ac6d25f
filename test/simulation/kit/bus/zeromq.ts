import { EventEmitter } from "node:events";
import type { VirtualProcess } from "../virtual-time.ts";
import type { Bound, BusNetwork, Connection } from "./network.ts";

/**
 * Stands in for the module `zeromq` in a schedule: PUSH and PULL as the bus uses them, on the
 * virtual network of the process that runs. main.ts makes Node resolve the module's name to this
 * file.
 */

let network: BusNetwork | undefined;

export function useNetwork(of: BusNetwork | undefined): void {
  network = of;
}

function here(): { bus: BusNetwork; owner: VirtualProcess } {
  const owner = network?.time.current;
  if (network === undefined || owner === undefined) throw new Error("no process opens this socket");
  return { bus: network, owner };
}

/** Sends to one mailbox. With `immediate`, what is sent waits until there is a connection. */
export class Push {
  readonly events = new EventEmitter();
  linger = 0;
  readonly #bus: BusNetwork;
  readonly #owner: VirtualProcess;
  #connection: Connection | undefined;
  #closed = false;
  #waiting: PromiseWithResolvers<void> | undefined;

  constructor() {
    const { bus, owner } = here();
    this.#bus = bus;
    this.#owner = owner;
  }

  connect(endpoint: string): void {
    const sending = {
      owner: this.#owner,
      onConnected: (connection: Connection) => {
        this.#connection = connection;
        this.#waiting?.resolve();
        this.#waiting = undefined;
        this.events.emit("handshake");
      },
      onDisconnected: () => {
        this.#connection = undefined;
        if (!this.#closed) this.events.emit("disconnect");
      },
    };
    this.#bus.connect(endpoint, sending, () => !this.#closed);
  }

  async send(frames: Buffer[]): Promise<void> {
    while (this.#connection === undefined) {
      if (this.#closed) throw new Error("Socket is closed");
      this.#waiting ??= Promise.withResolvers<void>();
      await this.#waiting.promise;
    }
    this.#connection.send(frames);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#connection?.close();
    this.#connection = undefined;
    this.#waiting?.reject(new Error("Socket is closed"));
    this.#waiting = undefined;
  }
}

/** A mailbox: messages in the order in which they come. */
export class Pull implements AsyncIterable<Buffer[]> {
  readonly events = new EventEmitter();
  lastEndpoint: string | null = null;
  readonly #bus: BusNetwork;
  readonly #bound: Bound;
  readonly #arrived: Buffer[][] = [];
  #wanted: (() => void) | undefined;
  #closed = false;

  constructor() {
    const { bus, owner } = here();
    this.#bus = bus;
    this.#bound = {
      owner,
      deliver: (frames) => {
        if (this.#closed) return;
        this.#arrived.push(frames);
        this.#wake();
      },
    };
  }

  bindSync(endpoint: string): void {
    this.lastEndpoint = this.#bus.bind(endpoint, this.#bound);
  }

  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer[], void, undefined> {
    for (;;) {
      const frames = this.#arrived.shift();
      if (frames !== undefined) yield frames;
      else if (this.#closed) return;
      else await new Promise<void>((resolve) => (this.#wanted = resolve));
    }
  }

  close(): void {
    this.#closed = true;
    this.#arrived.length = 0;
    if (this.lastEndpoint !== null) this.#bus.unbind(this.lastEndpoint, this.#bound);
    this.#wake();
  }

  #wake(): void {
    this.#wanted?.();
    this.#wanted = undefined;
  }
}

/** The bus asks for these two only if it has keys. */
export function Context(): never {
  throw new Error("the simulated bus has no keys");
}

export function Reply(): never {
  throw new Error("the simulated bus has no keys");
}
