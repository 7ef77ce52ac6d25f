import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { connect as connectTls, type TLSSocket } from "node:tls";
import { SmtpSession } from "@rs-agent/kit/smtp/smtp-session.ts";

/** One SMTP reply: its code, and its lines without code and line end. */
export interface Reply {
  code: number;
  lines: string[];
}

/** A client that says exactly what a test wants said, byte by byte. */
export class SmtpDialogue {
  #socket: Socket | TLSSocket;
  #session: SmtpSession;

  private constructor(socket: Socket) {
    this.#socket = socket;
    this.#session = new SmtpSession(socket);
  }

  /** Connects without waiting for the greeting. `from` is the local address to connect from. */
  static async connect(address: string, from = "127.0.0.1"): Promise<SmtpDialogue> {
    const [host = "", port = ""] = address.split(":");
    const socket = connect({ host, port: Number(port), localAddress: from });
    await once(socket, "connect");
    return new SmtpDialogue(socket);
  }

  /** Connects, waits for the greeting and says EHLO (or LHLO). */
  static async open(address: string, from?: string, hello = "EHLO"): Promise<SmtpDialogue> {
    const dialogue = await SmtpDialogue.connect(address, from);
    await dialogue.reply();
    await dialogue.say(`${hello} client.test`);
    return dialogue;
  }

  /** Sends a line and returns the reply as `CODE first line`. */
  async say(line: string): Promise<string> {
    this.send(`${line}\r\n`);
    const { code, lines } = await this.reply();
    return `${code} ${lines[0] ?? ""}`;
  }

  send(data: string | Buffer): void {
    this.#session.send(typeof data === "string" ? Buffer.from(data, "latin1") : data);
  }

  /** The next whole reply, or code 0 if the server closed instead. */
  async reply(): Promise<Reply> {
    const whole = await this.#session.reply();
    if (whole === "") return { code: 0, lines: [] };
    const lines = whole.trimEnd().split("\r\n");
    return { code: Number(whole.slice(0, 3)), lines: lines.map((line) => line.slice(4)) };
  }

  /** MAIL, RCPT for each recipient, DATA; returns 354, or the reply that stopped it. */
  async begin(mailFrom: string, rcptTo: string[]): Promise<string> {
    const mail = await this.say(`MAIL FROM:<${mailFrom}>`);
    if (!mail.startsWith("250 ")) return mail;
    for (const recipient of rcptTo) {
      const reply = await this.say(`RCPT TO:<${recipient}>`);
      if (!reply.startsWith("250 ")) return reply;
    }
    return this.say("DATA");
  }

  /** A whole transaction; `data` is what is sent before the final dot. */
  async deliver(mailFrom: string, rcptTo: string[], data: string | Buffer): Promise<string> {
    const begun = await this.begin(mailFrom, rcptTo);
    if (!begun.startsWith("354 ")) return begun;
    this.send(data);
    return this.say(".");
  }

  async startTls(): Promise<string> {
    const reply = await this.say("STARTTLS");
    if (!reply.startsWith("220 ")) return reply;
    this.#socket.removeAllListeners("data");
    const secure = connectTls({ socket: this.#socket, rejectUnauthorized: false });
    await once(secure, "secureConnect");
    this.#socket = secure;
    this.#session = new SmtpSession(secure);
    return reply;
  }

  /** The CN of the certificate that the server has shown. */
  get peerName(): string | undefined {
    const { subject } = (this.#socket as TLSSocket).getPeerCertificate();
    return [subject.CN].flat()[0];
  }

  /** Settles when the server has closed the connection. */
  async closed(): Promise<void> {
    if (!this.#socket.closed) await new Promise((resolve) => this.#socket.once("close", resolve));
  }

  close(): void {
    this.#session.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
