import type net from "node:net";
import { SMTPConnection } from "smtp-server/lib/smtp-connection.js";
import type { SMTPConnectionOptions } from "smtp-server/lib/smtp-connection.js";
import { parseAddressCommand, type AddressCommand } from "./address-command.ts";
import { noteRefusedXforward } from "./client.ts";
import { refuse } from "./reply.ts";
import { SmtpInput } from "./smtp-input.ts";
import type { SmtpListenerServer } from "./smtp-listener.ts";

const enhancedStatus = /^[245]\.\d{1,3}\.\d{1,3} /;

/**
 * One SMTP session, as smtp-server has it, except for eight things. They reach into it, so that its
 * version is pinned; what they rest on is in `smtp-server-inside.test.ts`.
 *
 * 1. A reply whose text begins with an enhanced status code (RFC 2034) keeps that one.
 * 2. XFORWARD changes neither who the peer is nor what it said at HELO, and holds for one
 *    transaction, as with Postfix; smtp-server overwrites the session for good, so that a mail
 *    without forwarded attributes would be taken for the previous client's.
 * 3. Once the server drains, the session ends at the next command outside of DATA.
 * 4. The time until the next command (RFC 5321 §4.5.3.2.7) is that of the whole line: smtp-server's
 *    starts again with each byte, so that a client could hold a session for days with one line.
 * 5. Commands and mails are read by our own `SmtpInput`.
 * 6. Addresses may have quoted local parts (RFC 5321 §4.1.2).
 * 7. BDAT, which is not offered (RFC 3030), ends the session: what follows it is a mail's bytes,
 *    and smtp-server would run them as commands.
 * 8. Replies that are given in one go leave in one write: those to pipelined commands (RFC 2920),
 *    and LMTP's to a mail.
 */
export class IngestConnection extends SMTPConnection {
  readonly server: SmtpListenerServer;
  #forwarding = false;
  #gathering = false;
  #untilCommand: NodeJS.Timeout | undefined;

  constructor(server: SmtpListenerServer, socket: net.Socket, options?: SMTPConnectionOptions) {
    super(server, socket, options);
    this.server = server;
  }

  /** Whether a mail is being received, stored or waiting for its reply. */
  get inData(): boolean {
    return Boolean(this._dataStream);
  }

  override init(): void {
    this.#untilCommand = setTimeout(() => this.#commandTooSlow(), this.server.commandTimeoutMs);
    this.#untilCommand.unref();
    this._setListeners(() => {
      const greet = setTimeout(() => this.connectionReady(), this.server.greetDelayMs);
      greet.unref();
    });
  }

  /** Also for what comes inside of TLS. Called by smtp-server before this class has its fields. */
  override _createParser(): SmtpInput {
    const input = new SmtpInput({ maxCommandLength: this._server.options.maxCommandLength });
    input.oncommand = (command, callback) => this._onCommand(command, callback);
    input.on("error", (error) => this.send(421, `Error: ${error.message}`));
    return input;
  }

  override _parseAddressCommand(name: string, command: Buffer | string): AddressCommand | false {
    const isMail = name.toLowerCase() === "mail from";
    return parseAddressCommand(isMail ? "MAIL FROM" : "RCPT TO", command.toString()) ?? false;
  }

  handler_BDAT(_command: Buffer, callback: () => void): void {
    const { responseCode, message } = refuse.noChunking();
    this.send(responseCode, message);
    this.close();
    callback();
  }

  override send(code: number, text?: string | string[] | null, context?: string | false): void {
    const stated = typeof text === "string" && enhancedStatus.test(text);
    if (this.#forwarding && code === 501) noteRefusedXforward(this.session);
    this.#gather();
    super.send(code, text, stated ? false : context);
  }

  /** What is said until the running code ends, leaves together; `end` of a socket does not wait. */
  #gather(): void {
    if (this.#gathering) return;
    this.#gathering = true;
    const socket = this._socket;
    socket.cork();
    queueMicrotask(() => {
      this.#gathering = false;
      socket.uncork();
    });
  }

  /** Before TLS has the socket, what was said in the clear has left. */
  override upgrade(callback: () => void, secureCallback?: () => void): void {
    this._socket.uncork();
    super.upgrade(callback, secureCallback);
  }

  override _onCommand(command: Buffer, callback?: () => void): void {
    this.#untilCommand?.refresh();
    if (this.server.draining) return this.endForDrain();
    super._onCommand(command, callback);
  }

  /** Says that we are going down, and closes. */
  endForDrain(): void {
    const { responseCode, message } = refuse.goingDown();
    this.send(responseCode, message);
  }

  /** Not while the client waits for us, nor in DATA, which has a time of its own. */
  #commandTooSlow(): void {
    if (this._closing) return;
    if (this.inData || this._handlerPending) {
      this.#untilCommand?.refresh();
      return;
    }
    const { responseCode, message } = refuse.commandTooSlow();
    // Its own time, which ends now for a silent client, would cut the reply off.
    this._armTimeout();
    this.send(responseCode, message);
  }

  override _onClose(): void {
    clearTimeout(this.#untilCommand);
    this.server.forget(this);
    super._onClose();
  }

  /** Closes without another word. */
  destroy(): void {
    this._socket.destroy();
  }

  override handler_XFORWARD(command: Buffer, callback: () => void): void {
    const { remoteAddress, remotePort, clientHostname, hostNameAppearsAs } = this;
    this.#forwarding = true;
    // Octets of a HELO in UTF-8 are C1 controls to smtp-server, which would refuse all of it; a mail
    // must not wait forever because its client has an umlaut in its name.
    const readable = command.toString("latin1").replace(/\+[89][0-9A-F]/g, "?");
    super.handler_XFORWARD(Buffer.from(readable, "latin1"), () => {
      Object.assign(this, { remoteAddress, remotePort, clientHostname, hostNameAppearsAs });
      if (!this.session.envelope.mailFrom) this._resetSession();
      this.#forwarding = false;
      callback();
    });
  }

  /** The end of a transaction: after DATA, RSET, HELO, and STARTTLS. */
  override _resetSession(): void {
    this.#untilCommand?.refresh();
    if (!this.#forwarding) this._xForward.clear();
    super._resetSession();
    // After the reply to DATA: a client that stays silent would keep a draining server waiting.
    if (this.server.draining) setImmediate(() => this.endForDrain());
  }
}
