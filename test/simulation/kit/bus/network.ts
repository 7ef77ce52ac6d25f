import type { VirtualProcess, VirtualTime } from "../virtual-time.ts";
import type { Random } from "../random.ts";

/** How messages fare between two processes; one line per pair, for both directions. */
export interface Line {
  /** Nothing passes before this; it waits. */
  stalledUntilMs: number;
  /** The chances of each message to be lost, duplicated, or overtaken by later ones. */
  loses: number;
  doubles: number;
  overtakes: number;
}

/** A mailbox that is bound. */
export interface Bound {
  owner: VirtualProcess;
  deliver: (frames: Buffer[]) => void;
}

/** A socket that sends to a mailbox. */
export interface Sending {
  owner: VirtualProcess;
  onConnected: (connection: Connection) => void;
  onDisconnected: () => void;
}

const reconnectMs = [100, 1_000] as const;

/** All mailboxes, and the connections to them. */
export class BusNetwork {
  readonly time: VirtualTime;
  readonly #random: Random;
  readonly #bound = new Map<string, Bound>();
  readonly #lines = new Map<string, Line>();
  readonly #connections = new Set<Connection>();
  #ports = 30_000;
  /** Sees every message as it comes out; what it returns comes out in its place. */
  onMessage: (frames: Buffer[], from: VirtualProcess, to: VirtualProcess) => Buffer[][] = (
    frames,
  ) => [frames];

  constructor(time: VirtualTime, random: Random) {
    this.time = time;
    this.#random = random;
  }

  line(a: VirtualProcess, b: VirtualProcess): Line {
    const name = a.name < b.name ? `${a.name}|${b.name}` : `${b.name}|${a.name}`;
    let line = this.#lines.get(name);
    if (line === undefined) {
      line = { stalledUntilMs: 0, loses: 0, doubles: 0, overtakes: 0 };
      this.#lines.set(name, line);
    }
    return line;
  }

  /** From now on messages pass as they should. */
  heal(): void {
    this.#lines.clear();
  }

  /** Breaks the connections between two processes; they are then made again. */
  cut(a: VirtualProcess, b: VirtualProcess): void {
    for (const connection of [...this.#connections]) {
      const { from, to } = connection;
      if ((from === a && to === b) || (from === b && to === a)) connection.break();
    }
  }

  bind(wanted: string, bound: Bound): string {
    const endpoint = wanted.endsWith(":*") ? wanted.replace("*", String(this.#ports++)) : wanted;
    if (this.#bound.get(endpoint)?.owner.alive === true) throw new Error("Address already in use");
    this.#bound.set(endpoint, bound);
    bound.owner.onEnd(() => this.unbind(endpoint, bound));
    return endpoint;
  }

  unbind(endpoint: string, bound: Bound): void {
    if (this.#bound.get(endpoint) !== bound) return;
    this.#bound.delete(endpoint);
    for (const connection of [...this.#connections]) {
      if (connection.bound === bound) connection.break();
    }
  }

  /** Tries until somebody is there; the handshake needs the event loops of both sides. */
  connect(endpoint: string, sending: Sending, isWanted: () => boolean): void {
    const again = () => {
      const waitMs = this.#random.between(...reconnectMs);
      this.time.after(waitMs, sending.owner, () => this.connect(endpoint, sending, isWanted));
    };
    this.time.after(this.latencyMs(), sending.owner, () => {
      if (!isWanted()) return;
      const bound = this.#bound.get(endpoint);
      if (bound === undefined) return again();
      let isOver = false;
      const giveUp = () => {
        if (!isOver) again();
        isOver = true;
      };
      bound.owner.onEnd(giveUp);
      this.time.after(this.latencyMs(), bound.owner, () => {
        this.time.after(this.latencyMs(), sending.owner, () => {
          if (isOver) return;
          if (!isWanted()) isOver = true;
          else if (this.#bound.get(endpoint) !== bound) giveUp();
          else {
            isOver = true;
            const connection = new Connection(this, sending, bound, again);
            this.#connections.add(connection);
            sending.onConnected(connection);
          }
        });
      });
    });
  }

  forget(connection: Connection): void {
    this.#connections.delete(connection);
  }

  latencyMs(): number {
    return this.#random.around(0.4);
  }

  /**
   * When a message that is given to a connection now comes out, once for each time that it does.
   */
  arrivals(connection: Connection): number[] {
    const line = this.line(connection.from, connection.to);
    if (line.loses > 0 && this.#random.chance(line.loses)) return [];
    const atMs = Math.max(this.time.nowMs, line.stalledUntilMs) + this.latencyMs();
    if (line.overtakes > 0 && this.#random.chance(line.overtakes)) {
      return [atMs + this.#random.between(1, 3_000)];
    }
    connection.lastMs = Math.max(atMs, connection.lastMs);
    if (line.doubles > 0 && this.#random.chance(line.doubles)) {
      return [connection.lastMs, connection.lastMs + this.#random.between(0, 4_000)];
    }
    return [connection.lastMs];
  }
}

/** One connection from a sending socket to a mailbox: in order, unless its line is bad. */
export class Connection {
  readonly #network: BusNetwork;
  readonly #sending: Sending;
  readonly bound: Bound;
  readonly #onBroken: () => void;
  #open = true;
  /** When the last message that keeps its place comes out. */
  lastMs = 0;

  constructor(network: BusNetwork, sending: Sending, bound: Bound, onBroken: () => void) {
    this.#network = network;
    this.#sending = sending;
    this.bound = bound;
    this.#onBroken = onBroken;
    sending.owner.onEnd(() => this.close());
  }

  get from(): VirtualProcess {
    return this.#sending.owner;
  }

  get to(): VirtualProcess {
    return this.bound.owner;
  }

  send(frames: Buffer[]): void {
    if (!this.#open) return;
    const { time } = this.#network;
    for (const atMs of this.#network.arrivals(this)) {
      time.at(atMs, this.to, () => {
        for (const told of this.#network.onMessage(frames, this.from, this.to)) {
          this.bound.deliver(told);
        }
      });
    }
  }

  /** What is on its way still arrives, as from a kernel's buffer. */
  close(): void {
    this.#open = false;
    this.#network.forget(this);
  }

  break(): void {
    if (!this.#open) return;
    this.close();
    const { time } = this.#network;
    time.after(this.#network.latencyMs(), this.from, () => {
      this.#sending.onDisconnected();
      this.#onBroken();
    });
  }
}
