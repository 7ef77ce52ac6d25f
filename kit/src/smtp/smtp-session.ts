import { once } from "node:events";
import { connect, type Socket } from "node:net";

export interface SessionOptions {
  host: string;
  port: number;
  /** The argument of EHLO. */
  name: string;
  /** The longest wait for a connection and for each reply; after it the session is over. */
  replyWithinMs?: number;
}

const wholeReply = /^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\r?\n/;

/**
 * A bare SMTP session (RFC 5321) for measurements and tests: commands are written as they are,
 * replies come one after the other, and "" stands for the reply of a server that has gone or is
 * silent for too long.
 */
export class SmtpSession {
  readonly #socket: Socket;
  readonly #replyWithinMs: number;
  #input = "";
  #ended = false;
  #wake: (() => void) | undefined;
  #extensions = new Set<string>();

  /** On a connected socket, which it owns. */
  constructor(socket: Socket, replyWithinMs = 0) {
    this.#socket = socket;
    this.#replyWithinMs = replyWithinMs;
    socket.on("data", (chunk: Buffer) => {
      this.#input += chunk.toString("latin1");
      this.#wake?.();
    });
    const end = () => {
      this.#ended = true;
      this.#wake?.();
    };
    socket.on("end", end).on("close", end).on("error", end);
    socket.on("timeout", () => socket.destroy());
  }

  /**
   * Connects, reads the greeting and says EHLO.
   * @throws Error saying what the server answered instead
   */
  static async open(options: SessionOptions): Promise<SmtpSession> {
    const { host, port, name, replyWithinMs = 0 } = options;
    const socket = connect({ host, port, noDelay: true, timeout: replyWithinMs });
    socket.once("timeout", () => socket.destroy(new Error("no connection in time")));
    await once(socket, "connect");
    const session = new SmtpSession(socket, replyWithinMs);
    const greeting = await session.reply();
    const hello = greeting.startsWith("220") ? await session.say(`EHLO ${name}\r\n`) : greeting;
    if (!hello.startsWith("250")) {
      session.close();
      throw new Error(hello === "" ? "the server hung up" : firstLine(hello));
    }
    const lines = hello.split(/\r?\n/).slice(1);
    session.#extensions = new Set(
      lines.map((line) => line.slice(4).split(" ")[0]?.toUpperCase() ?? ""),
    );
    return session;
  }

  get isOpen(): boolean {
    return !this.#ended;
  }

  /** Whether the server's EHLO reply named it: `PIPELINING`, `SIZE`, `8BITMIME`. */
  offers(extension: string): boolean {
    return this.#extensions.has(extension);
  }

  send(data: string | Buffer): void {
    this.#socket.write(data);
  }

  say(data: string | Buffer): Promise<string> {
    this.send(data);
    return this.reply();
  }

  /** The next whole reply, with its line ends. */
  async reply(): Promise<string> {
    for (;;) {
      const whole = wholeReply.exec(this.#input)?.[0];
      if (whole !== undefined) {
        this.#input = this.#input.slice(whole.length);
        return whole;
      }
      if (this.#ended) return "";
      this.#socket.setTimeout(this.#replyWithinMs);
      await new Promise<void>((resolve) => (this.#wake = resolve));
      // An idle session may last for as long as its server lets it.
      this.#socket.setTimeout(0);
    }
  }

  close(): void {
    this.#socket.destroy();
  }
}

/** A reply for a person. */
export function firstLine(reply: string): string {
  return (reply.split(/\r?\n/)[0] ?? "").replace(/[^ -~]/g, "?").slice(0, 200);
}

/**
 * Adds a dot to each line that begins with one (RFC 5321 §4.5.2). Returns `raw` if there is none.
 */
export function dotStuffed(raw: Buffer): Buffer {
  const needsNone = raw[0] !== 0x2e && !raw.includes("\n.");
  return needsNone ? raw : Buffer.from(raw.toString("latin1").replace(/^\./gm, ".."), "latin1");
}
