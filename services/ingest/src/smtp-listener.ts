import { once } from "node:events";
import type net from "node:net";
import { SMTPServer } from "smtp-server";
import type { SMTPServerOptions } from "smtp-server";
import type { SMTPConnectionOptions } from "smtp-server/lib/smtp-connection.js";
import { TerminalError, messageOf } from "@rs-agent/shared/errors.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { Certificate } from "@rs-agent/shared/pem-files.ts";
import type { ListenerSettings } from "./config.ts";
import { refuse, type Refusal } from "./reply.ts";
import { IngestConnection } from "./smtp-connection.ts";
import type { SessionHandlers } from "./session-handlers.ts";

/** The sessions of all listeners of this process together, and how many they may be. */
export interface ConnectionLimit {
  readonly open: Set<IngestConnection>;
  readonly max: number;
}

/** What a listener is told beside where it listens. */
export interface ListenerDeps {
  settings: ListenerSettings;
  handlers: SessionHandlers;
  smtp: Pick<SMTPServerOptions, "name" | "size" | "key" | "cert" | "resolver"> & {
    socketTimeout: number;
  };
  xforwardPeers: string[];
  /** How long an untrusted client waits for our greeting; one that talks before it is disconnected. */
  greetDelayMs: number;
  connections: ConnectionLimit;
  /** A client was sent away before its session began. */
  onDismissed: (refusal: Refusal) => void;
  log: Logger;
}

/** An open SMTP or LMTP listener. */
export interface SmtpListener {
  readonly settings: ListenerSettings;
  /** `host:port` as it listens, the port filled in if it was 0. */
  readonly address: string;
  /** For the sessions that go over to TLS from now on. */
  useCertificate(certificate: Certificate): void;
  /** Ends all sessions but those in DATA, which get their reply first; settles when all are gone. */
  drain(): Promise<void>;
  /** Destroys all sockets. */
  close(): Promise<void>;
}

/**
 * Opens a listener.
 * @throws TerminalError INGEST_LISTEN if the address cannot be had
 */
export async function openSmtpListener(deps: ListenerDeps): Promise<SmtpListener> {
  const { settings, log } = deps;
  const server = new SmtpListenerServer(deps);
  // Of the listener before it listens, which `once` tells too, then of sessions: resets, bad TLS.
  server.on("error", (error) => log.debug({ listener: settings.name, err: error }, "client error"));
  server.listen(settings.port, settings.host);
  try {
    await once(server.server, "listening");
  } catch (error) {
    throw new TerminalError(
      "INGEST_LISTEN",
      `cannot listen on ${settings.name}: ${messageOf(error)}`,
      { cause: error },
    );
  }
  const closed = once(server.server, "close");
  return {
    settings,
    address: addressOf(server.server),
    useCertificate: ({ cert, key }) => server.updateSecureContext({ cert, key }),
    drain: async () => {
      server.drain();
      await closed;
    },
    close: async () => {
      server.drain();
      for (const connection of server.sessions()) connection.destroy();
      await closed;
    },
  };
}

/** smtp-server with our own sessions, our limit of connections and our way to drain. */
export class SmtpListenerServer extends SMTPServer {
  readonly greetDelayMs: number;
  /** From one command to the end of the next one's line. */
  readonly commandTimeoutMs: number;
  readonly #limit: ConnectionLimit;
  readonly #onDismissed: (refusal: Refusal) => void;
  #draining = false;

  constructor(deps: ListenerDeps) {
    super(serverOptions(deps));
    this.greetDelayMs = deps.settings.trusted ? 0 : deps.greetDelayMs;
    this.commandTimeoutMs = deps.smtp.socketTimeout;
    this.#limit = deps.connections;
    this.#onDismissed = deps.onDismissed;
  }

  get draining(): boolean {
    return this.#draining;
  }

  /** Called by a session when its socket has closed. */
  forget(connection: IngestConnection): void {
    this.#limit.open.delete(connection);
  }

  sessions(): IngestConnection[] {
    return [...this.#limit.open].filter((session) => session.server === this);
  }

  override connect(socket: net.Socket, options?: SMTPConnectionOptions | null): void {
    if (this.#draining) return this.#dismiss(socket, refuse.goingDown());
    const { open, max } = this.#limit;
    if (open.size >= max) return this.#dismiss(socket, refuse.tooManyConnections());
    const connection = new IngestConnection(this, socket, options ?? {});
    open.add(connection);
    this.connections.add(connection);
    connection.on("error", (error: Error) => this._onError(error));
    connection.init();
  }

  #dismiss(socket: net.Socket, refusal: Refusal): void {
    this.#onDismissed(refusal);
    dismiss(socket, refusal);
  }

  /** Takes no more connections; each session ends, those in DATA after their reply. */
  drain(): void {
    if (this.#draining) return;
    this.#draining = true;
    this.server.close();
    for (const connection of this.sessions()) if (!connection.inData) connection.endForDrain();
  }
}

function serverOptions({
  settings,
  handlers,
  smtp,
  xforwardPeers,
}: ListenerDeps): SMTPServerOptions {
  const withTls = smtp.key !== undefined;
  return {
    ...smtp,
    ...handlers,
    lmtp: settings.protocol === "lmtp",
    logger: false,
    disableReverseLookup: smtp.resolver === undefined,
    useXForward: xforwardPeers.length > 0 ? xforwardPeers : false,
    disabledCommands: ["AUTH", "XCLIENT", "WIZ", "SHELL", "KILL", ...(withTls ? [] : ["STARTTLS"])],
    hideENHANCEDSTATUSCODES: false,
    // Announced only what is honoured end to end; their parameters are refused (555).
    hideDSN: true,
    hideSMTPUTF8: true,
    hideREQUIRETLS: true,
    lenientAddressParsing: true,
    maxCommandLength: 2_048,
    heloResponse: "%s",
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
  };
}

/** Tells a client that it is not wanted, without a session. */
function dismiss(socket: net.Socket, refusal: { responseCode: number; message: string }): void {
  socket.on("error", () => socket.destroy());
  socket.end(`${refusal.responseCode} ${refusal.message}\r\n`, () => socket.destroy());
}

function addressOf(server: net.Server): string {
  const address = server.address();
  if (address === null || typeof address === "string") return String(address);
  const host = address.family === "IPv6" ? `[${address.address}]` : address.address;
  return `${host}:${address.port}`;
}
