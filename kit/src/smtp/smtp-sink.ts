import { once } from "node:events";
import type { AddressInfo, Socket } from "node:net";
import type { Readable } from "node:stream";
import {
  SMTPServer,
  type SMTPServerDataStream,
  type SMTPServerOptions,
  type SMTPServerSession,
} from "smtp-server";

type Reply = `${number} ${string}`;
/**
 * What it answers: undefined for yes, a whole reply (`450 4.2.1 busy`, `250 2.0.0 kept`), or it
 * hangs up.
 */
export type Answer = Reply | "drop" | undefined;
type Answering<T = Answer> = T | Promise<T>;

/** A session as the sink's hooks see it: the transaction so far. */
export interface SinkSession {
  readonly id: string;
  readonly mailFrom: string;
  readonly rcptTo: readonly string[];
  /** Ends the connection once everything said has been sent. */
  hangUp(): void;
}

export interface SmtpSinkOptions {
  /** Default: a free one. */
  port?: number;
  host?: string;
  /** LMTP (RFC 2033) instead of SMTP. */
  lmtp?: boolean;
  /** PEM: offers STARTTLS. */
  tls?: { key: string; cert: string };
  /** Offers AUTH, and asks this function. */
  onAuth?: (user: string, password: string) => boolean;
  /** Extensions that are not offered. */
  hide?: readonly ("PIPELINING" | "8BITMIME" | "SMTPUTF8" | "SIZE")[];
  /** The largest mail, in bytes. */
  maxBytes?: number;
  onConnect?: () => Answering;
  onSender?: (mailFrom: string) => Answering;
  onRecipient?: (address: string, session: SinkSession) => Answering;
  /**
   * Reads the mail to its end and answers it; with LMTP, each recipient in order. If it throws, the
   * answer is 451: the client went away in the middle, or the disk is full.
   */
  onMail: (mail: Readable, session: SinkSession) => Promise<Answer | readonly Answer[]>;
  /** The session has ended, perhaps in the middle of a transaction. */
  onClose?: (id: string, isUnfinished: boolean) => void;
}

export interface SmtpSink {
  readonly host: string;
  readonly port: number;
  /** How many sessions were begun. */
  readonly sessions: number;
  readonly openSessions: number;
  /** Also ends the sessions. */
  stop(): Promise<void>;
}

/**
 * The far end of what we send: a real SMTP server whose hooks can choose every answer.
 * @throws Error if it cannot listen
 */
export async function startSmtpSink(options: SmtpSinkOptions): Promise<SmtpSink> {
  const { host = "127.0.0.1", port = 0, lmtp = false, onMail } = options;
  let sessions = 0;
  const sessionOf = (session: SMTPServerSession): SinkSession => ({
    id: session.id,
    mailFrom: session.envelope.mailFrom === false ? "" : session.envelope.mailFrom.address,
    rcptTo: session.envelope.rcptTo.map(({ address }) => address),
    hangUp() {
      for (const connection of server.connections) {
        if (connection.id === session.id) connection._socket.destroySoon();
      }
    },
  });
  const step = async (
    session: SMTPServerSession,
    callback: (error?: Error) => void,
    asked: Answering,
  ) => {
    const answer = await asked;
    const reply = answer === "drop" ? undefined : replyOf(answer);
    if (answer === "drop") sessionOf(session).hangUp();
    else callback(reply instanceof Error ? reply : undefined);
  };
  const receive = async (
    stream: SMTPServerDataStream,
    session: SMTPServerSession,
    callback: (error?: Error | null, replies?: string | (string | Error)[]) => void,
  ) => {
    const taken = onMail(stream, sessionOf(session)).catch(() => "451 4.3.0 not taken" as const);
    const answers = [await taken].flat();
    const replies = answers.flatMap((each) =>
      each === "drop" ? [] : (replyOf(each) ?? "2.0.0 taken"),
    );
    const [only] = replies;
    if (replies.length < answers.length) sessionOf(session).hangUp();
    else if (lmtp) callback(null, replies);
    else if (only instanceof Error) callback(only);
    else callback(null, only);
  };
  const server: SMTPServer = new SMTPServer({
    ...offered(options),
    onConnect(session, callback) {
      sessions += 1;
      void step(session, callback, options.onConnect?.());
    },
    onMailFrom({ address }, session, callback) {
      void step(session, callback, options.onSender?.(address));
    },
    onRcptTo({ address }, session, callback) {
      void step(session, callback, options.onRecipient?.(address, sessionOf(session)));
    },
    onData: (stream, session, callback) => void receive(stream, session, callback),
    // smtp-server forgets the transaction once it has ended.
    onClose: ({ id, envelope }: Partial<SMTPServerSession>) =>
      options.onClose?.(id ?? "", envelope !== undefined && envelope.mailFrom !== false),
  });
  // It does not matter to us if a client goes away.
  server.on("error", () => undefined);
  // The last reply must not wait for more data (Nagle): the client would wait with it.
  server.server.on("connection", (socket: Socket) => socket.setNoDelay(true));
  server.listen(port, host);
  await once(server.server, "listening");
  return {
    host,
    port: (server.server.address() as AddressInfo).port,
    get sessions() {
      return sessions;
    },
    get openSessions() {
      return server.connections.size;
    },
    async stop() {
      const { promise, resolve } = Promise.withResolvers<undefined>();
      server.close(() => resolve(undefined));
      for (const connection of server.connections) connection._socket.destroy();
      await promise;
    },
  };
}

function offered({ lmtp, tls, onAuth, hide = [], maxBytes }: SmtpSinkOptions) {
  const disabledCommands = [
    ...(tls === undefined ? ["STARTTLS"] : []),
    ...(onAuth === undefined ? ["AUTH"] : []),
  ];
  return {
    ...tls,
    lmtp: lmtp ?? false,
    disabledCommands,
    authOptional: true,
    allowInsecureAuth: true,
    disableReverseLookup: true,
    hidePIPELINING: hide.includes("PIPELINING"),
    hide8BITMIME: hide.includes("8BITMIME"),
    hideSMTPUTF8: hide.includes("SMTPUTF8"),
    hideSize: hide.includes("SIZE"),
    // Longer than a relay keeps an idle session, so that the relay is the one to end it.
    socketTimeout: 60_000,
    closeTimeout: 1_000,
    ...(maxBytes === undefined ? {} : { size: maxBytes }),
    onAuth(auth, _session, callback) {
      const right = onAuth?.(auth.username ?? "", auth.password ?? "") === true;
      if (right) callback(null, { user: auth.username });
      else callback(replyOf("535 5.7.8 no") as Error);
    },
  } satisfies SMTPServerOptions;
}

/** smtp-server separates the code from the text, and treats anything but 250 as an error. */
function replyOf(answer: Reply | undefined): Error | string | undefined {
  const [code, ...words] = answer?.split(" ") ?? [];
  if (code === undefined) return undefined;
  const text = words.join(" ");
  return code === "250" ? text : Object.assign(new Error(text), { responseCode: Number(code) });
}
