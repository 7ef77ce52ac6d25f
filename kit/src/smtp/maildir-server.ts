import { createWriteStream } from "node:fs";
import { mkdir, rename, rm, stat } from "node:fs/promises";
import { hostname } from "node:os";
import { basename, join } from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { startSmtpSink, type Answer, type SmtpSink, type SmtpSinkOptions } from "./smtp-sink.ts";

/** A point of a session at which the server can be told what to answer. */
export type Moment =
  | { step: "connect" }
  | { step: "sender"; mailFrom: string }
  | { step: "recipient"; address: string; mailFrom: string }
  /** The mail is in the maildir already. With LMTP, once for each recipient. */
  | { step: "mail"; mail: DeliveredMail; recipient: string };

export interface DeliveredMail {
  /** The file of the mail, byte for byte as it came. */
  file: string;
  mailFrom: string;
  rcptTo: readonly string[];
  size: number;
}

export interface MaildirServerOptions extends Omit<
  SmtpSinkOptions,
  "onConnect" | "onSender" | "onRecipient" | "onMail" | "onClose"
> {
  /** The maildir; made if it is missing. */
  dir: string;
  /** Makes the server fail as next hops do. */
  answer?: (moment: Moment) => Answer | Promise<Answer>;
}

export interface MaildirServer extends SmtpSink {
  /** Mails are in its folder `new`. */
  readonly dir: string;
  /** How many mails were written. */
  readonly delivered: number;
}

/**
 * A next hop for trials and tests: it writes each mail into a maildir
 * (https://cr.yp.to/proto/maildir.html: `tmp`, then renamed to `new`), and only then answers 250.
 */
export async function startMaildirServer(options: MaildirServerOptions): Promise<MaildirServer> {
  const { dir, lmtp = false, answer = () => undefined } = options;
  for (const folder of ["tmp", "new", "cur"]) await mkdir(join(dir, folder), { recursive: true });
  const receive = async (stream: Readable) => {
    server.delivered += 1;
    const name = `${Date.now()}.M${server.delivered}P${process.pid}.${basename(hostname())}`;
    const inTmp = join(dir, "tmp", name);
    const file = join(dir, "new", name);
    try {
      await pipeline(stream, createWriteStream(inTmp));
      const { size } = await stat(inTmp);
      await rename(inTmp, file);
      return { file, size };
    } catch (error) {
      server.delivered -= 1;
      await rm(inTmp, { force: true });
      throw error;
    }
  };
  const sink = await startSmtpSink({
    ...options,
    onConnect: () => answer({ step: "connect" }),
    onSender: (mailFrom) => answer({ step: "sender", mailFrom }),
    onRecipient: (address, { mailFrom }) => answer({ step: "recipient", address, mailFrom }),
    async onMail(stream, { mailFrom, rcptTo }) {
      const mail = { ...(await receive(stream)), mailFrom, rcptTo };
      const answers: Answer[] = [];
      for (const recipient of lmtp ? rcptTo : rcptTo.slice(0, 1)) {
        const said = await answer({ step: "mail", mail, recipient });
        answers.push(said ?? `250 2.0.0 kept as ${basename(mail.file)}`);
      }
      return answers;
    },
  });
  const server = Object.assign(sink, { dir, delivered: 0 });
  return server;
}
