import type { Readable } from "node:stream";
import { messageOf, TerminalError } from "@rs-agent/shared/errors.ts";
import { startSmtpSink, type SmtpSink } from "@rs-agent/kit/smtp/smtp-sink.ts";
import { numberInHeader } from "./mails/numbering.ts";

export interface SinkOptions {
  host: string;
  port: number;
  run: string;
  /** Told once for each recipient of each copy of a mail of this run, before its 250. */
  onCopy: (number: number, address: string) => void;
}

export interface Sink extends SmtpSink {
  /** Mails that are not of this run: reports on undelivered mail, or somebody else's. */
  readonly strangers: number;
}

/** The number is in the first field that we wrote; what relays put above it is short. */
const headLimit = 65_536;

/**
 * A next hop that takes every mail immediately and keeps only its number.
 * @throws TerminalError CFG_INVALID if it cannot listen
 */
export async function startSink({ host, port, run, onCopy }: SinkOptions): Promise<Sink> {
  const sink = await startSmtpSink({
    host,
    port,
    async onMail(mail, { rcptTo }) {
      const number = numberInHeader(await headOf(mail), run);
      if (number === undefined) server.strangers += 1;
      else for (const address of rcptTo) onCopy(number, address);
      return undefined;
    },
  }).catch((error: unknown) => {
    throw new TerminalError("CFG_INVALID", `--sink: ${messageOf(error)}`, { cause: error });
  });
  const server = Object.assign(sink, { strangers: 0 });
  return server;
}

/** Reads the mail to its end and returns its header. */
async function headOf(mail: Readable): Promise<string> {
  const chunks: Buffer[] = [];
  let kept = 0;
  for await (const chunk of mail as AsyncIterable<Buffer>) {
    if (kept < headLimit) chunks.push(chunk);
    kept += chunk.length;
  }
  const head = Buffer.concat(chunks).subarray(0, headLimit);
  const end = head.indexOf("\r\n\r\n");
  return head.toString("latin1", 0, end < 0 ? head.length : end + 2);
}
