import { once } from "node:events";
import type { Socket } from "node:net";
import { SMTPServer, type SMTPServerDataStream, type SMTPServerSession } from "smtp-server";
import { messageOf, TerminalError } from "@rs-agent/shared/errors.ts";
import { numberInHeader } from "./mails/numbering.ts";

export interface SinkOptions {
  host: string;
  port: number;
  run: string;
  /** Told once for each recipient of each copy of a mail of this run, before its 250. */
  onCopy: (number: number, address: string) => void;
}

export interface Sink {
  readonly port: number;
  /** Mails that are none of this run: reports on undelivered mail, or somebody else's. */
  readonly strangers: number;
  close(): Promise<void>;
}

/** The number is in the first field that we wrote; what relays put before it is short. */
const headLimit = 65_536;

/**
 * A next hop that takes every mail immediately, and keeps nothing of it but its number.
 * @throws TerminalError CFG_INVALID if it cannot listen
 */
export async function startSink(options: SinkOptions): Promise<Sink> {
  const { host, port, run, onCopy } = options;
  const counts = { strangers: 0 };
  const server = new SMTPServer({
    disabledCommands: ["STARTTLS", "AUTH"],
    authOptional: true,
    disableReverseLookup: true,
    closeTimeout: 1_000,
    onData(stream, session, callback) {
      void headOf(stream).then((head) => {
        if (head !== undefined) take(head, session);
        callback(null, "2.0.0 taken");
      });
    },
  });
  const take = (head: string, { envelope }: SMTPServerSession) => {
    const number = numberInHeader(head, run);
    if (number === undefined) counts.strangers += 1;
    else for (const { address } of envelope.rcptTo) onCopy(number, address);
  };
  // The last reply must not wait for company (Nagle): the relay would wait with it.
  server.server.on("connection", (socket: Socket) => socket.setNoDelay(true));
  server.listen(port, host);
  try {
    await once(server.server, "listening");
  } catch (error) {
    throw new TerminalError("CFG_INVALID", `--sink: ${messageOf(error)}`, { cause: error });
  }
  // A client that goes away is nothing to us.
  server.on("error", () => undefined);
  return {
    port: (server.server.address() as { port: number }).port,
    get strangers() {
      return counts.strangers;
    },
    close: () => closeServer(server),
  };
}

/** Reads the mail to its end; its header, or undefined if the client went away in the middle. */
function headOf(stream: SMTPServerDataStream): Promise<string | undefined> {
  const { promise, resolve } = Promise.withResolvers<string | undefined>();
  const chunks: Buffer[] = [];
  let kept = 0;
  stream.on("data", (chunk: Buffer) => {
    if (kept >= headLimit) return;
    chunks.push(chunk);
    kept += chunk.length;
  });
  stream.once("error", () => resolve(undefined));
  stream.once("end", () => {
    const head = Buffer.concat(chunks).subarray(0, headLimit);
    const end = head.indexOf("\r\n\r\n");
    resolve(head.toString("latin1", 0, end < 0 ? head.length : end + 2));
  });
  return promise;
}

async function closeServer(server: SMTPServer): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<undefined>();
  server.close(() => resolve(undefined));
  for (const connection of server.connections) connection._socket.destroy();
  await promise;
}
