import { Duplex } from "node:stream";
import type { NetConnectOpts, Socket } from "node:net";
import type { Random } from "../random.ts";
import type { Planned, VirtualProcess, VirtualTime } from "../virtual-time.ts";

/** The server's end of one connection. */
export interface Peer {
  /** Bytes are given to the client's socket at this moment; they arrive later. */
  onSending(chunk: Buffer): void;
  onData(chunk: Buffer): void;
  /** The client closes its side, or is gone, at this moment; what it has sent still arrives. */
  onLeaving(): void;
  /** Nothing more comes. */
  onClosed(): void;
}

/** The server's way to the client. */
export interface Line {
  readonly from: VirtualProcess;
  write(text: string): void;
  /** Ends the connection: politely (FIN), or not (RST). */
  end(how: "close" | "reset"): void;
  /** Nothing comes through in either direction before this. */
  stallUntil(ms: number): void;
}

/** What listens at an address. Undefined: the connection is refused; `silent`: nobody answers. */
export type Listener = (line: Line) => Peer | "silent" | undefined;

/** TCP between relays and next hops. */
export class TcpNetwork {
  readonly time: VirtualTime;
  readonly #random: Random;
  readonly #listeners = new Map<string, Listener>();

  constructor(time: VirtualTime, random: Random) {
    this.time = time;
    this.#random = random;
  }

  listen(address: string, listener: Listener): void {
    this.#listeners.set(address, listener);
  }

  listenerAt(address: string): Listener | undefined {
    return this.#listeners.get(address);
  }

  latencyMs(): number {
    return this.#random.around(0.6);
  }

  /** In place of `net.connect`. */
  connect(options: NetConnectOpts, onConnect: () => void): Socket {
    const { host = "", port } = options as { host?: string; port: number };
    const owner = this.time.current;
    if (owner === undefined) throw new Error("no process connects");
    return new VirtualSocket(this, owner, `${host}:${port}`, onConnect) as unknown as Socket;
  }
}

/** A connected TCP socket of a process, as far as an SMTP client looks at it. */
class VirtualSocket extends Duplex {
  readonly remoteAddress: string;
  readonly remotePort: number;
  readonly localAddress = "127.0.0.1";
  readonly localPort = 40_000;
  readonly #network: TcpNetwork;
  readonly #owner: VirtualProcess;
  #peer: Peer | undefined;
  #stalledUntilMs = 0;
  #toPeerMs = 0;
  #toUsMs = 0;
  #ended = false;
  #idleMs = 0;
  #idleTimer: Planned | undefined;
  #activeMs = 0;

  constructor(network: TcpNetwork, owner: VirtualProcess, address: string, onConnect: () => void) {
    super({ allowHalfOpen: true });
    const colon = address.lastIndexOf(":");
    this.remoteAddress = address.slice(0, colon);
    this.remotePort = Number(address.slice(colon + 1));
    this.#network = network;
    this.#owner = owner;
    this.once("connect", onConnect);
    owner.onEnd(() => this.#leave());
    network.time.after(network.latencyMs(), undefined, () => this.#connect(address));
  }

  setTimeout(ms: number): this {
    this.#idleMs = ms;
    if (this.#idleTimer !== undefined) this.#idleTimer.cancelled = true;
    this.#touch();
    if (ms > 0) this.#watchIdle();
    return this;
  }

  setKeepAlive(): this {
    return this;
  }

  setNoDelay(): this {
    return this;
  }

  override _read(): void {
    // Data is pushed as it comes.
  }

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    this.#send(chunk);
    done();
  }

  override _writev(chunks: { chunk: Buffer }[], done: () => void): void {
    this.#send(Buffer.concat(chunks.map(({ chunk }) => chunk)));
    done();
  }

  override _final(done: () => void): void {
    this.#leave();
    done();
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (this.#idleTimer !== undefined) this.#idleTimer.cancelled = true;
    this.#leave();
    done(error);
  }

  #connect(address: string): void {
    const { time } = this.#network;
    const line: Line = {
      from: this.#owner,
      write: (text) => this.#arrive(() => this.push(Buffer.from(text, "latin1"))),
      end: (how) =>
        this.#arrive(() => {
          if (how === "reset") this.destroy(new Error("read ECONNRESET"));
          else this.push(null);
        }),
      stallUntil: (ms) => {
        this.#stalledUntilMs = Math.max(this.#stalledUntilMs, ms);
      },
    };
    this.#toUsMs = time.nowMs + this.#network.latencyMs();
    const connectedMs = this.#toUsMs;
    const peer = this.#network.listenerAt(address)?.(line);
    if (peer === "silent") return;
    time.at(connectedMs, this.#owner, () => {
      if (this.destroyed) return;
      if (peer === undefined) {
        this.destroy(new Error(`connect ECONNREFUSED ${address}`));
        return;
      }
      this.#peer = peer;
      this.emit("connect");
    });
  }

  #send(chunk: Buffer): void {
    this.#touch();
    this.#peer?.onSending(chunk);
    this.#reach(() => this.#peer?.onData(chunk));
  }

  /** At the peer, after what was sent before. */
  #reach(happens: () => void): void {
    const { time } = this.#network;
    const atMs = Math.max(time.nowMs, this.#stalledUntilMs) + this.#network.latencyMs();
    this.#toPeerMs = Math.max(atMs, this.#toPeerMs);
    time.at(this.#toPeerMs, undefined, happens);
  }

  /** Here, after what came before. */
  #arrive(happens: () => void): void {
    const { time } = this.#network;
    const atMs = Math.max(time.nowMs, this.#stalledUntilMs) + this.#network.latencyMs();
    this.#toUsMs = Math.max(atMs, this.#toUsMs);
    time.at(this.#toUsMs, this.#owner, () => {
      if (this.destroyed) return;
      this.#touch();
      happens();
    });
  }

  #leave(): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#peer?.onLeaving();
    this.#reach(() => this.#peer?.onClosed());
  }

  #touch(): void {
    this.#activeMs = this.#network.time.nowMs;
  }

  #watchIdle(): void {
    const { time } = this.#network;
    this.#idleTimer = time.at(this.#activeMs + this.#idleMs, this.#owner, () => {
      if (this.destroyed) return;
      if (time.nowMs < this.#activeMs + this.#idleMs) this.#watchIdle();
      else this.emit("timeout");
    });
  }
}
