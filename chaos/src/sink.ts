import { once } from "node:events";
import type { AddressInfo } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { SMTPServer, type SMTPServerDataStream, type SMTPServerSession } from "smtp-server";
import { numberIn } from "./mails/planned-mail.ts";
import { randomOf } from "@rs-agent/kit/random.ts";

/** A mail that the next hop has taken, or may be thought to have. */
export interface Copy {
  /** The id in our newest Received field, of a report that in its Message-ID; "" if there is none. */
  mailId: string;
  isReport: boolean;
  /** The number of the mail that it is, or that it reports on. */
  number: number | undefined;
  mailFrom: string;
  rcptTo: readonly string[];
  at: Date;
}

export interface SinkOptions {
  seed: number;
  /** The longest that a relay waits for the final reply: the sink may be slower. */
  finalTimeoutMs: number;
  /** Looks at what came, the moment it is taken. */
  inspect: (copy: Copy, raw: Buffer) => Promise<void>;
}

export interface Sink {
  readonly address: string;
  readonly copies: readonly Copy[];
  /** Transactions that ended without a final reply, by whomever. */
  readonly unfinished: number;
  /** Final replies given, by kind of trouble. */
  readonly troubles: ReadonlyMap<string, number>;
  readonly openSessions: number;
  close(): Promise<void>;
}

/** What the next hop does to a mail, as next hops do. */
const troubles = [
  /** 4yz to a recipient, to the whole mail after its dot, to the connection. */
  "defer-recipient",
  "defer-mail",
  "busy",
  /** It hangs up: after the dot having kept the mail or not, or in the middle of the body. */
  "drop-kept",
  "drop-unkept",
  "drop-in-body",
  "slow",
  /** It keeps the mail and says so after the relay has stopped listening. */
  "too-late",
] as const;
type Trouble = (typeof troubles)[number];
const troubleShare = 0.15;

/**
 * The next hop of a run: a real SMTP server that counts copies and errs by seed and mail, so that the
 * same mail meets the same trouble in each run of a seed. 5yz comes by the recipient's name.
 */
export async function startSink(options: SinkOptions): Promise<Sink> {
  const sink = new ErringSink(options);
  await sink.start();
  return sink;
}

class ErringSink implements Sink {
  readonly copies: Copy[] = [];
  readonly troubles = new Map<string, number>();
  unfinished = 0;
  readonly #options: SinkOptions;
  readonly #server: SMTPServer;
  /** Transactions begun for a mail so far. */
  readonly #tries = new Map<number, number>();
  readonly #trouble = new Map<string, Trouble | undefined>();

  constructor(options: SinkOptions) {
    this.#options = options;
    this.#server = new SMTPServer({
      disabledCommands: ["STARTTLS", "AUTH"],
      authOptional: true,
      disableReverseLookup: true,
      closeTimeout: 1_000,
      onMailFrom: (_address, _session, callback) => callback(),
      onRcptTo: ({ address }, session, callback) => this.#onRecipient(address, session, callback),
      onData: (stream, session, callback) => {
        this.#onData(stream, session).then(
          (reply) => (reply instanceof Error ? callback(reply) : callback(null, reply)),
          (error: unknown) => callback(error as Error),
        );
      },
      onClose: (session) => this.#onClose(session),
    });
    // A client that goes away is part of the game.
    this.#server.on("error", () => undefined);
  }

  get address(): string {
    return `127.0.0.1:${(this.#server.server.address() as AddressInfo).port}`;
  }

  get openSessions(): number {
    return this.#server.connections.size;
  }

  async start(): Promise<void> {
    this.#server.listen(0, "127.0.0.1");
    await once(this.#server.server, "listening");
  }

  async close(): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    this.#server.close(() => resolve(undefined));
    for (const connection of this.#server.connections) connection._socket.destroy();
    await promise;
  }

  #onRecipient(
    address: string,
    session: SMTPServerSession,
    callback: (error?: Error | null) => void,
  ): void {
    if (address.startsWith("refused.")) return callback(reply("550 5.1.1 no such user"));
    const first = session.envelope.rcptTo.length === 0;
    if (first) this.#trouble.set(session.id, this.#troubleOf(address));
    const trouble = this.#trouble.get(session.id);
    if (first && trouble === "defer-recipient") {
      this.#count(trouble);
      return callback(reply("450 4.2.1 mailbox busy"));
    }
    if (first && trouble === "busy") {
      this.#count(trouble);
      callback(reply("421 4.3.2 too busy, bye"));
      this.#hangUp(session);
      return;
    }
    callback();
  }

  /** By seed and mail: some mails meet one trouble in their first transaction, some two. */
  #troubleOf(address: string): Trouble | undefined {
    const number = numberIn(address);
    if (number === undefined) return undefined;
    const tries = (this.#tries.get(number) ?? 0) + 1;
    this.#tries.set(number, tries);
    const random = randomOf(this.#options.seed, "hop", number, tries);
    return tries <= 2 && random.chance(troubleShare) ? random.pick(troubles) : undefined;
  }

  async #onData(stream: SMTPServerDataStream, session: SMTPServerSession): Promise<Error | string> {
    const trouble = this.#trouble.get(session.id);
    this.#trouble.delete(session.id);
    const chunks: Buffer[] = [];
    const raw = await new Promise<Buffer>((resolve, reject) => {
      stream.on("data", (chunk: Buffer) => {
        chunks.push(chunk);
        if (trouble === "drop-in-body") this.#hangUp(session);
      });
      stream.once("end", () => resolve(Buffer.concat(chunks)));
      stream.once("error", reject);
    });
    const rejected = session.envelope.rcptTo.some(({ address }) => address.startsWith("rejected."));
    if (rejected) return reply("554 5.7.1 this mail is not wanted");
    if (trouble !== undefined) this.#count(trouble);
    if (trouble === "defer-mail") return reply("451 4.3.0 try again");
    if (trouble === "drop-unkept" || trouble === "drop-in-body") return this.#drop(session);
    await this.#keep(raw, session);
    if (trouble === "drop-kept") return this.#drop(session);
    if (trouble === "slow")
      await wait(randomOf(this.#options.seed, "slow", raw.length).between(100, 1_500));
    if (trouble === "too-late") await wait(this.#options.finalTimeoutMs + 1_000);
    return "2.0.0 kept";
  }

  #drop(session: SMTPServerSession): Promise<never> {
    this.#hangUp(session);
    // No reply: the connection is gone.
    return new Promise(() => undefined);
  }

  async #keep(raw: Buffer, { envelope }: SMTPServerSession): Promise<void> {
    const rcptTo = envelope.rcptTo.map(({ address }) => address);
    const header = raw.toString("latin1", 0, Math.max(0, raw.indexOf("\r\n\r\n")));
    const ownId = /\(rs-agent\) with \S+ id ([0-9a-z]+)/.exec(header)?.[1];
    const reportId = /^Message-ID: <(d[0-9a-f]{24})@/m.exec(header)?.[1];
    const copy: Copy = {
      mailId: ownId ?? reportId ?? "",
      isReport: ownId === undefined && reportId !== undefined,
      number: numberIn(rcptTo[0] ?? ""),
      mailFrom: envelope.mailFrom === false ? "" : envelope.mailFrom.address,
      rcptTo,
      at: new Date(),
    };
    await this.#options.inspect(copy, raw);
    this.copies.push(copy);
  }

  #onClose(session: SMTPServerSession): void {
    this.#trouble.delete(session.id);
    // smtp-server forgets the transaction once it has ended.
    const { envelope } = session as Partial<SMTPServerSession>;
    if (envelope !== undefined && envelope.mailFrom !== false) this.unfinished += 1;
  }

  #hangUp({ id }: SMTPServerSession): void {
    for (const connection of this.#server.connections) {
      if (connection.id === id) connection._socket.destroySoon();
    }
  }

  #count(trouble: string): void {
    this.troubles.set(trouble, (this.troubles.get(trouble) ?? 0) + 1);
  }
}

/** smtp-server takes the code apart from the text. */
function reply(text: `${number} ${string}`): Error {
  const [code = "451", ...words] = text.split(" ");
  return Object.assign(new Error(words.join(" ")), { responseCode: Number(code) });
}
