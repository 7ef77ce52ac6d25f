import { once } from "node:events";
import { createWriteStream } from "node:fs";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import type { AddressInfo } from "node:net";
import { hostname } from "node:os";
import { basename, join } from "node:path";
import { pipeline } from "node:stream/promises";
import { SMTPServer, type SMTPServerOptions, type SMTPServerSession } from "smtp-server";

/** A point of a session at which the server can be told what to say. */
export type Moment =
  | { step: "connect" }
  | { step: "sender"; mailFrom: string }
  | { step: "recipient"; address: string; mailFrom: string }
  /** The mail lies in the maildir already. For LMTP asked once for each recipient. */
  | { step: "mail"; mail: DeliveredMail; recipient: string };

/** What it says: undefined for yes, a whole reply for no (`450 4.2.1 busy`), or it hangs up. */
export type Answer = `${number} ${string}` | "drop" | undefined;

export interface DeliveredMail {
  /** Where the mail lies, byte for byte as it came. */
  file: string;
  mailFrom: string;
  rcptTo: string[];
  size: number;
}

export interface MaildirServerOptions {
  /** The maildir; made if it is not there. */
  dir: string;
  /** Default: a free one. */
  port?: number;
  host?: string;
  /** LMTP (RFC 2033) instead of SMTP. */
  lmtp?: boolean;
  /** PEM: offers STARTTLS. */
  tls?: { key: string; cert: string };
  /** Offers AUTH, and asks this. */
  onAuth?: (user: string, password: string) => boolean;
  /** Extensions that are not offered. */
  hide?: readonly ("PIPELINING" | "8BITMIME" | "SMTPUTF8" | "SIZE")[];
  /** The largest mail, bytes. */
  maxBytes?: number;
  /** Makes the server err as next hops do. */
  answer?: (moment: Moment) => Answer | Promise<Answer>;
}

export interface MaildirServer {
  readonly host: string;
  readonly port: number;
  /** Mails lie in its folder `new`. */
  readonly dir: string;
  /** Mails that were written. */
  readonly delivered: number;
  /** Sessions begun. */
  readonly sessions: number;
  /** Ends the sessions too. */
  stop(): Promise<void>;
}

/**
 * A next hop for trying out and for tests: a real SMTP server that writes each mail into a maildir
 * (https://cr.yp.to/proto/maildir.html: `tmp`, then renamed to `new`), and answers 250 after that.
 */
export async function startMaildirServer(options: MaildirServerOptions): Promise<MaildirServer> {
  const { dir, host = "127.0.0.1", port = 0 } = options;
  for (const folder of ["tmp", "new", "cur"]) await mkdir(join(dir, folder), { recursive: true });
  const counts = { delivered: 0, sessions: 0 };
  const server: SMTPServer = new SMTPServer({
    ...offered(options),
    onConnect(session, callback) {
      counts.sessions += 1;
      void reply(session, { step: "connect" }, callback);
    },
    onMailFrom({ address }, session, callback) {
      void reply(session, { step: "sender", mailFrom: address }, callback);
    },
    onRcptTo({ address }, session, callback) {
      void reply(session, { step: "recipient", address, mailFrom: senderOf(session) }, callback);
    },
    onData(stream, session, callback) {
      void receive(stream, session).then(
        (mail) => finish(mail, session, callback),
        // The client went away in the middle, or the disk is full: not taken.
        () => callback(refusal("451 4.3.0 not written")),
      );
    },
  });
  server.on("error", () => undefined);

  const reply = async (
    session: SMTPServerSession,
    moment: Moment,
    callback: (error?: Error | null) => void,
  ) => {
    const answer = await options.answer?.(moment);
    if (answer === "drop") {
      hangUp(server, session);
      return;
    }
    callback(answer === undefined ? undefined : refusal(answer));
  };
  const receive = async (stream: NodeJS.ReadableStream, session: SMTPServerSession) => {
    counts.delivered += 1;
    const name = `${Date.now()}.M${counts.delivered}P${process.pid}.${basename(hostname())}`;
    const inTmp = join(dir, "tmp", name);
    const file = join(dir, "new", name);
    try {
      await pipeline(stream, createWriteStream(inTmp));
      const { size } = await stat(inTmp);
      await rename(inTmp, file);
      return { file, size, mailFrom: senderOf(session), rcptTo: recipientsOf(session) };
    } catch (error) {
      counts.delivered -= 1;
      await rm(inTmp, { force: true });
      throw error;
    }
  };
  const finish = async (
    mail: DeliveredMail,
    session: SMTPServerSession,
    callback: (error?: Error | null, replies?: string | (string | Error)[]) => void,
  ) => {
    const asked = options.lmtp === true ? mail.rcptTo : mail.rcptTo.slice(0, 1);
    const replies: (string | Error)[] = [];
    for (const recipient of asked) {
      const answer = await options.answer?.({ step: "mail", mail, recipient });
      if (answer === "drop") {
        hangUp(server, session);
        return;
      }
      replies.push(answer === undefined ? `2.0.0 kept as ${basename(mail.file)}` : refusal(answer));
    }
    if (options.lmtp === true) {
      callback(null, replies);
      return;
    }
    const [only] = replies;
    if (only instanceof Error) callback(only);
    else callback(null, only ?? "2.0.0 kept");
  };

  server.listen(port, host);
  await once(server.server, "listening");
  return {
    host,
    port: (server.server.address() as AddressInfo).port,
    dir,
    get delivered() {
      return counts.delivered;
    },
    get sessions() {
      return counts.sessions;
    },
    async stop() {
      const { promise, resolve } = Promise.withResolvers<undefined>();
      server.close(() => resolve(undefined));
      for (const connection of server.connections) connection._socket.destroy();
      await promise;
    },
  };
}

function offered({ lmtp, tls, onAuth, hide = [], maxBytes }: MaildirServerOptions) {
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
    // Longer than a relay keeps an idle session: who of us ends it is the relay's choice.
    socketTimeout: 60_000,
    closeTimeout: 1_000,
    ...(maxBytes === undefined ? {} : { size: maxBytes }),
    onAuth(auth, _session, callback) {
      const right = onAuth?.(auth.username ?? "", auth.password ?? "") === true;
      if (right) callback(null, { user: auth.username });
      else callback(refusal("535 5.7.8 no"));
    },
  } satisfies SMTPServerOptions;
}

function senderOf({ envelope }: SMTPServerSession): string {
  return envelope.mailFrom === false ? "" : envelope.mailFrom.address;
}

function recipientsOf({ envelope }: SMTPServerSession): string[] {
  return envelope.rcptTo.map(({ address }) => address);
}

/** smtp-server takes the code apart from the text. */
function refusal(reply: string): Error {
  const [code = "451", ...words] = reply.split(" ");
  return Object.assign(new Error(words.join(" ")), { responseCode: Number(code) });
}

function hangUp(server: SMTPServer, { id }: SMTPServerSession): void {
  for (const connection of server.connections) {
    if (connection.id === id) connection._socket.destroy();
  }
}
