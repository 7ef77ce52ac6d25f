import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** An SMTP session that reads one reply after the other; "" where the server has gone. */
export class SmtpSession {
  readonly #socket: Socket;
  #input = "";
  #ended = false;
  #wake: (() => void) | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (chunk: Buffer) => {
      this.#input += chunk.toString("latin1");
      this.#wake?.();
    });
    const end = () => {
      this.#ended = true;
      this.#wake?.();
    };
    socket.on("end", end).on("close", end).on("error", end);
  }

  /** Greeted, and EHLO said. Waits as long as the server lets it wait. */
  static async open(address: string): Promise<SmtpSession> {
    const [host = "", port = ""] = address.split(":");
    const socket = connect({ host, port: Number(port), noDelay: true });
    await once(socket, "connect");
    const session = new SmtpSession(socket);
    await session.reply();
    await session.say("EHLO bench.example\r\n");
    return session;
  }

  get isOpen(): boolean {
    return !this.#ended;
  }

  send(data: string | Buffer): void {
    this.#socket.write(data);
  }

  say(data: string | Buffer): Promise<string> {
    this.send(data);
    return this.reply();
  }

  async reply(): Promise<string> {
    for (;;) {
      const whole = /^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*|\r)\n/.exec(this.#input)?.[0];
      if (whole !== undefined) {
        this.#input = this.#input.slice(whole.length);
        return whole;
      }
      if (this.#ended) return "";
      await new Promise<void>((resolve) => (this.#wake = resolve));
    }
  }

  /** The whole reply to the final dot: MAIL, RCPT and DATA in one go (RFC 2920). */
  async deliver(from: string, to: string, data: Buffer): Promise<string> {
    this.send(`MAIL FROM:<${from}>\r\nRCPT TO:<${to}>\r\nDATA\r\n`);
    const mail = await this.reply();
    if (!mail.startsWith("250")) {
      // The two others are refused with it, unless the server has gone.
      if (this.isOpen && !mail.startsWith("421")) await this.#skip(2);
      return mail;
    }
    const rcpt = await this.reply();
    const ready = await this.reply();
    if (!ready.startsWith("354")) return rcpt.startsWith("250") ? ready : rcpt;
    return this.say(data);
  }

  async #skip(replies: number): Promise<void> {
    for (let n = 0; n < replies; n += 1) await this.reply();
  }

  close(): void {
    this.#socket.destroy();
  }

  async quit(): Promise<void> {
    if (this.isOpen) await this.say("QUIT\r\n");
    this.close();
  }
}
