import { setTimeout as wait } from "node:timers/promises";
import { countCpu, type Processes } from "./cpu-use.ts";
import { distinctMails, spamMail, virusMail } from "./sample-mails.ts";
import { deliverAll, deliverOne } from "./smtp-load.ts";
import type { SmtpSink } from "./smtp-sink.ts";
import type { Subject, SubjectRound } from "./rounds.ts";

/** Something that takes mail by SMTP and passes it on to the sink: our system, or a peer. */
export interface MailServer {
  name: string;
  /** `host:port` */
  address: string;
  /** Package versions and settings that a reader has to know. */
  about: string;
  /** The processes whose CPU time counts, with those that they start, by part. */
  processes(): Processes;
  stop(): Promise<void>;
}

export interface MailLoad {
  sink: SmtpSink;
  bytes: number;
  sessions: number;
  /** About how long a round should take. */
  roundMs: number;
}

/** If no mail reaches the sink for this long, some are lost. */
const silenceMs = 60_000;
/** What a server does after the last mail has left (removing it, logging it) counts too. */
const settleMs = 500;
const firstWarmUp = 32;
const fewest = 10;

/**
 * A server as subject of a comparison: each round delivers distinct mails by SMTP, and is timed
 * from the first MAIL to the last arrival at the sink. It warms up with a round that tells how many
 * mails fill one.
 */
export async function mailSubject(server: MailServer, load: MailLoad): Promise<Subject> {
  const round = (count: number) => mailRound(server, load, count);
  const countOf = ({ perSecond }: SubjectRound, ms: number) =>
    Math.max(fewest, Math.round((perSecond * ms) / 1_000));
  const first = await round(firstWarmUp);
  const warm = await round(countOf(first, load.roundMs));
  const count = countOf(warm, load.roundMs);
  return { name: server.name, round: () => round(count) };
}

async function mailRound(server: MailServer, load: MailLoad, count: number): Promise<SubjectRound> {
  const { sink, bytes, sessions } = load;
  const mails = distinctMails(count, bytes);
  const expected = sink.count + count;
  const cpuUsed = countCpu(() => server.processes());
  const [{ beganAt }, lastAt] = await Promise.all([
    deliverAll(server.address, mails, sessions),
    sink.arrived(expected, silenceMs),
  ]);
  await wait(settleMs);
  if (sink.count !== expected) {
    throw new Error(`${server.name}: ${sink.count - expected} mails more than were sent`);
  }
  return { perSecond: (count * 1_000) / (lastAt - beganAt), cpuMs: cpuUsed(count) };
}

/** What a server must not pass on. */
export interface Catches {
  virus: boolean;
  spam: boolean;
}

/**
 * Makes sure that a server does what is measured: a clean mail arrives; EICAR and GTUBE, if it
 * checks for them, do not.
 * @throws Error naming what it did instead
 */
export async function proveServer(
  server: MailServer,
  sink: SmtpSink,
  catches: Catches,
): Promise<void> {
  await passes(server, sink);
  if (catches.virus) await stops(server, sink, "EICAR", virusMail());
  if (catches.spam) await stops(server, sink, "GTUBE", spamMail());
}

async function passes(server: MailServer, sink: SmtpSink): Promise<void> {
  const expected = sink.count + 1;
  const [clean] = distinctMails(1, 2_000);
  const reply = await deliverOne(server.address, clean ?? Buffer.alloc(0));
  if (!reply.startsWith("250")) throw new Error(`${server.name} refuses clean mail: ${reply}`);
  await sink.arrived(expected, silenceMs);
}

/** Refused immediately, or accepted but not there when a later mail is. */
async function stops(
  server: MailServer,
  sink: SmtpSink,
  what: string,
  mail: Buffer,
): Promise<void> {
  const before = sink.count;
  const reply = await deliverOne(server.address, mail);
  if (!/^[25]50|^554/.test(reply)) {
    throw new Error(`${server.name} says to ${what}: ${reply === "" ? "nothing" : reply}`);
  }
  await passes(server, sink);
  await wait(2_000);
  if (sink.count !== before + 1) throw new Error(`${server.name} passes ${what} on`);
}
