import type { Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { Mode } from "@rs-agent/shared/mode.ts";
import { isLoopbackHost } from "@rs-agent/shared/policy/next-hop.ts";
import type { Route } from "@rs-agent/shared/mail/route.ts";
import SMTPConnection from "nodemailer/lib/smtp-connection";
import type { Timeouts } from "./config.ts";
import type { Certificate } from "@rs-agent/shared/pem-files.ts";
import type { Credential } from "./credentials.ts";
import { EhloWatch, type HopAbilities } from "./ehlo.ts";
import { OutgoingBody } from "./outgoing-body.ts";
import type { OutgoingMail } from "./outgoing-bytes.ts";
import { ReplyParser, statusOf, replyClass, type Reply } from "./reply.ts";
import { TransactionTimer } from "./transaction-timer.ts";
import type { Transcript } from "./transcript.ts";

/** Why no session could be had. Says nothing about any mail: it is the route that failed. */
export interface SessionFailure {
  status: string;
  reply: Reply;
}

export interface SessionOptions {
  route: Route;
  /** The EHLO name if the route has none. */
  hostname: string;
  timeouts: Timeouts;
  /** Trusted certificates (PEM); undefined: the system's. */
  ca: readonly string[] | undefined;
  credential: Credential | undefined;
  /** Shown to a hop that asks for one in the TLS handshake. */
  certificate: Certificate | undefined;
  /** Not even if it is offered: the last try of STARTTLS broke (opportunistic only). */
  withoutTls?: boolean;
  /** TLS from the first byte; absent: on port 465 (RFC 8314 §3.3). */
  implicitTls?: boolean;
  /** Ends the opening. */
  signal: AbortSignal;
}

/** One transaction: a mail, its SMTP sender and some of its recipients. */
export interface Transaction {
  mailFrom: string;
  recipients: readonly string[];
  mail: OutgoingMail;
  /** Asked right before the body's first byte. */
  mayBegin: () => boolean;
}

interface TransactionEnd {
  lost: string | undefined;
  /** Another transaction may follow. */
  usable: boolean;
}

/** `unclean`: the last mail was refused, and RSET comes before the next one. */
const modes = {
  idle: ["transacting", "resetting"],
  transacting: ["idle"],
  unclean: ["transacting"],
  resetting: ["unclean"],
  quitting: ["idle"],
  over: ["idle", "transacting", "unclean", "resetting", "quitting", "over"],
} as const;

/**
 * One SMTP or LMTP session with a next hop. The client (nodemailer's) speaks; what was answered is
 * seen by ourselves, on the socket, and the body is written there by ourselves.
 */
export class HopSession {
  readonly abilities: HopAbilities;
  /** `host[address]:port`, as postfix writes a relay in its log. */
  readonly name: string;
  readonly protocol: Route["protocol"];
  readonly #connection: SMTPConnection;
  readonly #socket: Socket;
  readonly #timeouts: Timeouts;
  readonly #mode: Mode<keyof typeof modes>;
  #onReply: ((reply: Reply) => void) | undefined;
  #onLost: ((why: string) => void) | undefined;

  constructor(
    connection: SMTPConnection,
    socket: Socket,
    abilities: HopAbilities,
    options: SessionOptions,
  ) {
    this.#connection = connection;
    this.#socket = socket;
    this.#timeouts = options.timeouts;
    this.abilities = abilities;
    const { host, port, protocol } = options.route;
    this.protocol = protocol;
    this.name = `${host}[${socket.remoteAddress ?? "unknown"}]:${port}`;
    this.#mode = new Mode(`the session with ${this.name}`, modes, "idle");
    this.whenOver(() => this.#mode.enter("over"));
    const parser = new ReplyParser();
    // Before the client's own listener, which may call back on the same chunk.
    socket.prependListener("data", (chunk: Buffer) => {
      for (const reply of parser.push(chunk)) this.#onReply?.(reply);
    });
  }

  /** Whether more can be said in it. */
  get alive(): boolean {
    return (
      !this.#mode.is("quitting", "over") && !this.#connection.destroyed && this.#socket.writable
    );
  }

  /** Whether it speaks TLS. */
  get secure(): boolean {
    return this.#connection.secure;
  }

  /** The address from which it goes out. */
  get localAddress(): string | undefined {
    return this.#socket.localAddress;
  }

  /** Calls back once, when the session is over for whatever reason, unless it is called off. */
  whenOver(listener: () => void): { off: () => void } {
    this.#connection.once("end", listener);
    return { off: () => this.#connection.off("end", listener) };
  }

  /** Runs one transaction. Never rejects: what happened is in the transcript. One at a time. */
  async transact(transaction: Transaction): Promise<Transcript> {
    if (this.#endIfDead()) {
      return { replies: [], bodyBegun: false, bodyEnded: false, lost: "the connection was closed" };
    }
    this.#mode.enter("transacting");
    const replies: Reply[] = [];
    const { body, timer, ended } = this.#begin(transaction, replies);
    const { lost, usable } = await ended;
    timer.stop();
    this.#onReply = undefined;
    this.#onLost = undefined;
    const transcript = { replies, bodyBegun: body.begun, bodyEnded: body.ended, lost };
    if (!usable || !this.alive) this.destroy("broken off");
    else this.#mode.enter(body.ended ? "idle" : "unclean");
    body.destroy();
    return transcript;
  }

  #begin({ mailFrom, recipients, mail, mayBegin }: Transaction, replies: Reply[]) {
    const { promise, resolve } = Promise.withResolvers<TransactionEnd>();
    const timer = new TransactionTimer(this.#timeouts, recipients.length, (why) =>
      this.destroy(why),
    );
    const body = new OutgoingBody(mail, this.#socket, mayBegin, (last) => timer.onBody(last));
    this.#onReply = (reply) => {
      replies.push(reply);
      timer.onReply();
    };
    this.#onLost = (why) => resolve({ lost: why, usable: false });
    // The client would read these words out of the greeting too.
    const size = this.abilities.extensions.has("SIZE") ? mail.size : undefined;
    this.#connection.send(
      { from: mailFrom, to: [...recipients], size, use8BitMime: mail.eightBit },
      body.asMessage(),
      (error) => resolve(this.#endOf(error, body)),
    );
    return { body, timer, ended: promise };
  }

  /** A refusal leaves the session as it was, and its replies say it all; anything else ends it. */
  #endOf(error: Error | null, body: OutgoingBody): TransactionEnd {
    const refused = codeOf(error) === "EENVELOPE" || codeOf(error) === "EMESSAGE";
    const halfSent = body.begun && !body.ended;
    if (this.alive && (error === null || refused)) return { lost: undefined, usable: !halfSent };
    return { lost: error?.message ?? "the connection was closed", usable: false };
  }

  /**
   * Makes it ready for another transaction: by RSET after a refused mail (RFC 5321 §4.1.1.5). False
   * if it is over.
   */
  async reset(): Promise<boolean> {
    if (this.#endIfDead()) return false;
    if (this.#mode.is("idle")) return true;
    this.#mode.enter("resetting");
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const timer = setTimeout(() => this.destroy("no reply to RSET"), this.#timeouts.mailMs);
    this.#onLost = () => resolve(false);
    const over = this.whenOver(() => resolve(false));
    this.#connection.reset((error) => resolve(error === null));
    const done = await promise;
    over.off();
    clearTimeout(timer);
    this.#onLost = undefined;
    if (!done || !this.alive) this.destroy("of no more use");
    else this.#mode.enter("idle");
    return done && this.alive;
  }

  /** Ends an idle session politely; the connection is gone after at most `graceMs`. */
  quit(graceMs: number): void {
    if (this.#endIfDead()) return;
    this.#mode.enter("quitting");
    const timer = setTimeout(() => this.destroy("no reply to QUIT"), graceMs);
    this.whenOver(() => clearTimeout(timer));
    this.#connection.quit();
  }

  /** The hop may have ended it at any moment. True: it has, or we have. */
  #endIfDead(): boolean {
    if (this.alive) return false;
    this.destroy("over");
    return true;
  }

  /** Ends the connection now, without another byte. */
  destroy(why: string): void {
    this.#mode.enter("over");
    this.#connection.close();
    this.#socket.destroy();
    this.#onLost?.(why);
  }
}

/** Opens a session: connection, greeting, EHLO, TLS and AUTH as the route wants them. */
export async function openSession(
  options: SessionOptions,
): Promise<{ kind: "open"; session: HopSession } | { kind: "failed"; failure: SessionFailure }> {
  const ehlo = new EhloWatch();
  const connection = new SMTPConnection({
    ...connectionOptions(options),
    logger: ehlo,
    transactionLog: true,
  });
  const error = await setUp(connection, options);
  const socket = connection._socket;
  if (error === undefined && socket && !socket.destroyed) {
    // Said of each command and reply; nobody listens from here on.
    connection.options.transactionLog = false;
    return { kind: "open", session: new HopSession(connection, socket, ehlo.abilities, options) };
  }
  connection.close();
  const tlsBroke = connection.upgrading === true || codeOf(error) === "ETLS";
  const mayGoPlain = options.route.tls === "opportunistic" && options.withoutTls !== true;
  if (tlsBroke && mayGoPlain && !options.signal.aborted) {
    return openSession({ ...options, withoutTls: true });
  }
  return { kind: "failed", failure: failureOf(error, tlsBroke) };
}

/** Undefined once the session is there; otherwise what went wrong. */
async function setUp(
  connection: SMTPConnection,
  options: SessionOptions,
): Promise<Error | undefined> {
  const { connectMs, greetingMs, mailMs } = options.timeouts;
  const { promise, resolve } = Promise.withResolvers<Error | undefined>();
  const giveUp = (why: string) => {
    resolve(new Error(why));
    connection.close();
  };
  const onAbort = () => giveUp("the relay is closing");
  const connecting = setTimeout(() => {
    if (connection.stage === "init") giveUp(`no connection within ${connectMs / 1_000} s`);
  }, connectMs);
  const wholeMs = connectMs + greetingMs + mailMs;
  const whole = setTimeout(() => giveUp(`no session within ${wholeMs / 1_000} s`), wholeMs);
  options.signal.addEventListener("abort", onAbort);
  connection.on("error", resolve);
  connection.once("end", () => resolve(new Error("the connection was closed")));
  connection.connect((error) => {
    if (error) resolve(error);
    else authenticate(connection, options, resolve);
  });
  const error = options.signal.aborted ? new Error("the relay is closing") : await promise;
  clearTimeout(connecting);
  clearTimeout(whole);
  options.signal.removeEventListener("abort", onAbort);
  return error;
}

function authenticate(
  connection: SMTPConnection,
  { credential, route }: SessionOptions,
  done: (error: Error | undefined) => void,
): void {
  if (credential === undefined) return done(undefined);
  // Who stands between us and the hop would hear the password (RFC 4954 §9).
  if (!isVerified(connection) && !isLoopbackHost(route.host)) {
    const why = "the password is sent only over TLS with a valid certificate (tls: required)";
    return done(Object.assign(new Error(why), { code: "EUNVERIFIED" }));
  }
  connection.login({ user: credential.user, pass: credential.password }, (error) =>
    done(error ?? undefined),
  );
}

/** Over TLS, with a certificate that is valid for the host, whatever the route asks for. */
function isVerified({ _socket }: SMTPConnection): boolean {
  return _socket instanceof TLSSocket && _socket.authorized;
}

function connectionOptions(options: SessionOptions) {
  const { route, timeouts, ca, certificate } = options;
  const withoutTls = route.tls === "none" || options.withoutTls === true;
  const implicitTls = options.implicitTls ?? route.port === 465;
  return {
    host: route.host,
    port: route.port,
    secure: implicitTls && !withoutTls,
    ignoreTLS: withoutTls,
    requireTLS: route.tls === "required",
    opportunisticTLS: route.tls === "opportunistic",
    tls: {
      rejectUnauthorized: route.tls === "required",
      ...(ca === undefined ? {} : { ca: [...ca] }),
      ...certificate,
    },
    name: route.helo ?? options.hostname,
    lmtp: route.protocol === "lmtp",
    localAddress: route.sourceAddress,
    connectionTimeout: timeouts.connectMs + timeouts.greetingMs,
    greetingTimeout: timeouts.greetingMs,
    dnsTimeout: timeouts.connectMs,
    // After the timers of each step, which say more.
    socketTimeout: Math.max(...Object.values(timeouts)) + 1_000,
    // No lingering half of a connection whose lease is over (I8).
    socketCloseTimeout: 0,
  };
}

/** Codes of RFC 3463 for what can be wrong with a route; a 5yz greeting is not the mail's fault either. */
function failureOf(error: unknown, tlsBroke: boolean): SessionFailure {
  const detail = error instanceof Error ? error.message : "the connection was closed";
  const said = (error as { response?: unknown } | undefined)?.response;
  if (typeof said === "string" && said !== "") {
    const status = replyClass(said) === 4 ? statusOf(said) : "4.3.0";
    return { status, reply: said };
  }
  const code = codeOf(error);
  if (code === "EDNS") return { status: "4.4.3", reply: detail };
  if (tlsBroke) return { status: "4.7.5", reply: detail };
  if (code === "EAUTH") return { status: "4.7.8", reply: detail };
  // RFC 5248: encryption required for the requested authentication mechanism.
  if (code === "EUNVERIFIED") return { status: "4.7.11", reply: detail };
  return { status: "4.4.1", reply: detail };
}

function codeOf(error: unknown): string {
  const code = (error as { code?: unknown } | undefined)?.code;
  return typeof code === "string" ? code : "";
}
