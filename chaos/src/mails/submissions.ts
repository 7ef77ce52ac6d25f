import { setTimeout as wait } from "node:timers/promises";
import { MongoServerError, ObjectId, type Collection } from "mongodb";
import { createTransport } from "nodemailer";
import { mailIdOf } from "@rs-agent/shared/store/adoption.ts";
import type { SourceConfig } from "@rs-agent/shared/store/source-config.ts";
import { bytesOf } from "./mail-bytes.ts";
import type { PlannedMail } from "./planned-mail.ts";
import { clientAddresses } from "./policy.ts";

/** How one mail was handed in, as the one who did it knows. */
export interface Submission {
  mail: PlannedMail;
  /** The ids in the 250 that was heard, or that the source's record will get. */
  acceptedId: string | undefined;
  /** Attempts that got no 250: each may or may not have made a mail. */
  unheard: number;
  /** What was said to the last of those; a 5yz was the last word. */
  lastFailure: string | undefined;
}

export interface Submitter {
  /** Hands the mail in until it is accepted or refused for good (5yz), or until `signal` aborts. */
  submit(submission: Submission, signal: AbortSignal): Promise<void>;
  close(): void;
}

export interface SubmitterOptions {
  seed: number;
  /** For the Date fields. */
  startedAt: Date;
  /** Where the ingests listen, as clients reach them. */
  smtp: readonly string[];
  source: SourceConfig;
  inbox: Collection;
}

type Transport = ReturnType<typeof connectTo>;

const firstPauseMs = 100;
const longestPauseMs = 2_000;
const replyWithinMs = 15_000;

/** One client that keeps its connections, as a mail server with a queue does. */
export function openSubmitter(options: SubmitterOptions): Submitter {
  const transports = new Map<string, Transport>();
  const transportTo = (smtp: string, localAddress: string) => {
    const key = `${smtp} ${localAddress}`;
    let transport = transports.get(key);
    if (transport === undefined) {
      transport = connectTo(smtp, localAddress);
      transports.set(key, transport);
    }
    return transport;
  };
  const send = async (submission: Submission, attempt: number) => {
    const { mail } = submission;
    const raw = bytesOf(options.seed, mail, options.startedAt);
    if (mail.via === "source") return insert(options, mail, raw);
    const smtp = options.smtp[(mail.number + attempt) % options.smtp.length] ?? "";
    const envelope = { from: mail.mailFrom, to: mail.recipients.map(({ address }) => address) };
    const transport = transportTo(smtp, clientAddresses[mail.direction]);
    const { response } = await transport.sendMail({ envelope, raw });
    return /queued as (\S+)/.exec(response)?.[1];
  };
  return {
    async submit(submission, signal) {
      for (let attempt = 0; !signal.aborted; attempt += 1) {
        try {
          submission.acceptedId = await send(submission, attempt);
          return;
        } catch (error) {
          submission.unheard += 1;
          submission.lastFailure = String(error);
          if (isRefused(error)) return;
          const pauseMs = Math.min(firstPauseMs * 2 ** attempt, longestPauseMs);
          await wait(pauseMs, undefined, { signal }).catch(() => undefined);
        }
      }
    },
    close: () => {
      for (const transport of transports.values()) transport.close();
    },
  };
}

function isRefused(error: unknown): boolean {
  const code: unknown = (error as { responseCode?: unknown }).responseCode;
  return typeof code === "number" && code >= 500;
}

function connectTo(smtp: string, localAddress: string) {
  const [host = "", port] = smtp.split(":");
  return createTransport({
    host,
    port: Number(port),
    localAddress,
    name: "client.stranger.example",
    ignoreTLS: true,
    pool: true,
    maxConnections: 1,
    // Whether to try again is ours to say: each try is counted.
    maxRequeues: 0,
    connectionTimeout: replyWithinMs,
    greetingTimeout: replyWithinMs,
    socketTimeout: replyWithinMs,
    disableFileAccess: true,
    disableUrlAccess: true,
  });
}

const duplicateKey = 11_000;

/** A straight insert, in the native form (docs/records.md). Always the same id: a retry finds it. */
async function insert(
  { inbox, source, startedAt }: SubmitterOptions,
  mail: PlannedMail,
  raw: Buffer,
): Promise<string> {
  const seconds = Math.floor(startedAt.getTime() / 1_000).toString(16);
  const _id = new ObjectId(seconds.padStart(8, "0") + mail.number.toString(16).padStart(16, "0"));
  const client = { address: clientAddresses[mail.direction], name: "", helo: "inserter.example" };
  const rcptTo = mail.recipients.map(({ address }) => address);
  const smtp = { mailFrom: mail.mailFrom, rcptTo, client };
  try {
    await inbox.insertOne({ _id, state: "incoming", smtp, body: raw, receivedAt: new Date() });
  } catch (error) {
    if (!(error instanceof MongoServerError) || error.code !== duplicateKey) throw error;
  }
  return mailIdOf(source, _id);
}
