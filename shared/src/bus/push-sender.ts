import { Push } from "zeromq";
import { TerminalError } from "../errors.ts";
import { Mode } from "../mode.ts";
import { encodeMessages, type OutgoingHead, type OutgoingPart } from "./codec.ts";
import { parseEndpoint } from "./endpoint.ts";
import { handshakeFailures, type HandshakeFailure } from "./handshake.ts";
import type { BusProtection } from "./protection.ts";

/**
 * Parts that travel in one message: enough to spread the cost of a send, few enough that the other
 * side is at work on the first while the last is written.
 */
const partsPerMessage = 16;
/** Bodies that travel in one message stay below this together; a larger one travels alone. */
const maxBodyBytesPerMessage = 256 * 1024;

export interface PushSenderOptions {
  endpoint: string;
  protection: BusProtection;
  /** If we have keys: we talk only to the holder of this one's secret half. */
  serverKey: string | undefined;
  /** Parts that may wait; credit keeps it far lower. */
  maxParts: number;
  /** Bytes of bodies that may wait, counted while there is more than one. */
  maxBytes: number;
  /** The peer's mailbox is there (again). */
  onConnected: () => void;
  /** The peer's mailbox is gone; zeromq goes on trying until `close`. */
  onDisconnected: () => void;
  /** The peer is there, and one of us does not want the other; `onDisconnected` follows. */
  onRefused: (failure: HandshakeFailure) => void;
  /** A part that cannot be sent at all: its head is larger than any head may be. */
  onUnsendable: () => void;
}

/** `finishing`: what was given is on its way, nothing else is. */
const modes = {
  connecting: ["connected"],
  connected: ["connecting", "connected"],
  finishing: ["connected"],
  closed: ["connecting", "connected", "finishing"],
} as const;

/**
 * The one writer of one PUSH socket (zeromq takes one `send` at a time). Parts given in one turn of
 * the event loop travel together. Buffers are sent without copying: a caller that gives one never
 * writes to it again.
 */
export class PushSender {
  readonly #options: PushSenderOptions;
  readonly #socket: Push;
  #waiting: OutgoingPart[] = [];
  #waitingBytes = 0;
  #sending = false;
  #endOfTurn: NodeJS.Immediate | undefined;
  readonly #mode = new Mode<keyof typeof modes>("a sender", modes, "connecting");
  /** Parts given, and parts that zeromq has taken, since the start. */
  #given = 0;
  #taken = 0;
  readonly #flushWaits: { target: number; settle: () => void }[] = [];

  constructor(options: PushSenderOptions) {
    this.#options = options;
    const peer = parseEndpoint(options.endpoint);
    this.#socket = new Push({
      ...curveOptions(options),
      immediate: true,
      linger: 0,
      reconnectInterval: 100,
      reconnectMaxInterval: 1_000,
      ipv6: peer.transport === "tcp" && peer.host.includes(":"),
    });
    this.#socket.events.on("handshake", () => {
      if (!this.#mode.is("connecting", "connected")) return;
      this.#mode.enter("connected");
      options.onConnected();
    });
    handshakeFailures(this.#socket, (failure) => {
      if (!this.#isClosed()) options.onRefused(failure);
    });
    this.#socket.events.on("disconnect", () => {
      if (this.#mode.is("finishing")) this.close();
      if (this.#isClosed()) return;
      if (this.connected) this.#mode.enter("connecting");
      options.onDisconnected();
    });
    this.#socket.connect(options.endpoint);
  }

  get connected(): boolean {
    return this.#mode.is("connected");
  }

  /** Gives a part to be sent soon. False: closed, or as much waits as may wait. */
  send(head: OutgoingHead, body?: Buffer): boolean {
    const size = body?.length ?? 0;
    if (this.#isClosed() || !this.#hasRoomFor(size)) return false;
    this.#waiting.push({ head, body });
    this.#given += 1;
    this.#waitingBytes += size;
    if (!this.#sending) this.#flushSoon();
    return true;
  }

  /**
   * Hands everything given so far to zeromq, whose own thread sends it even if this one then
   * blocks. Settles when that is done, or the socket is closed.
   */
  async flushed(): Promise<void> {
    if (this.#isClosed() || this.#taken === this.#given) return;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#flushWaits.push({ target: this.#given, settle: () => resolve(undefined) });
    if (!this.#sending) this.#startFlush();
    await promise;
  }

  /** Closes once everything given so far is out, after at most `limitMs`. */
  async finish(limitMs: number): Promise<void> {
    if (!this.connected) {
      this.close();
      return;
    }
    this.#mode.enter("finishing");
    const limit = setTimeout(() => this.close(), limitMs);
    await this.flushed();
    clearTimeout(limit);
    this.close(limitMs);
  }

  /** `lingerMs`: how long zeromq may go on delivering, in its own thread, what it was given. */
  close(lingerMs = 0): void {
    if (this.#isClosed()) return;
    this.#mode.enter("closed");
    this.#waiting = [];
    clearImmediate(this.#endOfTurn);
    this.#socket.linger = lingerMs;
    this.#socket.close();
    this.#settleWaits(Infinity);
  }

  #hasRoomFor(size: number): boolean {
    if (this.#waiting.length === 0) return true;
    return (
      this.#waiting.length < this.#options.maxParts &&
      this.#waitingBytes + size <= this.#options.maxBytes
    );
  }

  /** At the end of this turn of the event loop, or as soon as a message is full. */
  #flushSoon(): void {
    if (this.#waiting.length >= partsPerMessage) this.#startFlush();
    else this.#endOfTurn ??= setImmediate(() => this.#startFlush());
  }

  #startFlush(): void {
    clearImmediate(this.#endOfTurn);
    this.#endOfTurn = undefined;
    this.#sending = true;
    void this.#flush();
  }

  async #flush(): Promise<void> {
    while (this.#waiting.length > 0) {
      const parts = this.#takeNext();
      for (const frames of this.#encode(parts)) {
        await this.#write(frames);
        if (this.#isClosed()) return;
      }
      this.#taken += parts.length;
      this.#settleWaits(this.#taken);
    }
    this.#sending = false;
  }

  /**
   * zeromq looks for a peer in one turn and may write in the next: EAGAIN says that the peer went away
   * between the two, and asking again waits for it.
   */
  async #write(frames: Buffer[]): Promise<void> {
    for (;;) {
      try {
        await this.#socket.send(frames);
        return;
      } catch (error) {
        if (this.#isClosed()) return;
        if ((error as { code?: unknown }).code !== "EAGAIN") throw error;
      }
    }
  }

  #isClosed(): boolean {
    return this.#mode.is("closed");
  }

  #settleWaits(taken: number): void {
    for (let first = this.#flushWaits[0]; first !== undefined; first = this.#flushWaits[0]) {
      if (first.target > taken) return;
      this.#flushWaits.shift();
      first.settle();
    }
  }

  /** The parts of the next message: at least one. */
  #takeNext(): OutgoingPart[] {
    let count = 0;
    let bytes = 0;
    for (const { body } of this.#waiting) {
      const size = body?.length ?? 0;
      if (count > 0 && (count === partsPerMessage || bytes + size > maxBodyBytesPerMessage)) {
        break;
      }
      count += 1;
      bytes += size;
    }
    const taken = this.#waiting.splice(0, count);
    this.#waitingBytes -= bytes;
    return taken;
  }

  #encode(parts: OutgoingPart[]): Buffer[][] {
    try {
      return encodeMessages(parts);
    } catch (error) {
      if (!(error instanceof TerminalError)) throw error;
      if (parts.length > 1) return parts.flatMap((part) => this.#encode([part]));
      this.#options.onUnsendable();
      return [];
    }
  }
}

function curveOptions({ protection: { keys }, serverKey }: PushSenderOptions) {
  if (keys === undefined) return {};
  if (serverKey === undefined) throw new TypeError("with keys, no peer is talked to without one");
  return keys.clientOptions(serverKey);
}
