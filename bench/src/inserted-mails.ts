import { newMailId } from "@rs-agent/shared/ids.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import {
  startSystem,
  type RunningSystem,
  type SystemOptions,
} from "@rs-agent/kit/system/system.ts";
import { nullWorker, refuseSlowServer } from "./our-system.ts";
import type { SmtpSink } from "./smtp-sink.ts";

/**
 * The system without ingest, and with workers that have no engine: mail is inserted into the
 * database as ingest would insert it.
 */
export async function startNullSystem(
  options: Pick<SystemOptions, "runDir" | "prepare" | "env"> & {
    signal: AbortSignal;
    nextHop: string;
    /** Settings of the null engines. */
    virus?: Record<string, string>;
    counts?: SystemOptions["counts"];
  },
): Promise<RunningSystem> {
  const { runDir, nextHop, signal, virus, counts, prepare, env } = options;
  return startSystem({
    runDir,
    counts: { ingest: 0, ...counts },
    clamd: "none",
    spamd: "none",
    ...(env === undefined ? {} : { env }),
    nextHop,
    scripts: { "av-worker": nullWorker, "spam-worker": nullWorker },
    serviceEnv: {
      "av-worker": { NULL_TASK: "virus", ...virus },
      "spam-worker": { NULL_TASK: "spam" },
    },
    signal,
    prepare: async (mongodb) => {
      refuseSlowServer(mongodb);
      await prepare?.(mongodb);
    },
    restart: false,
  });
}

/** Body first, then the record that points to it; resolves when both are durable. */
export async function insertMail(database: Database, raw: Buffer, id = newMailId()): Promise<void> {
  const body = await database.bodies.put(raw);
  await database.mails.insert(recordOf(id, body, database.clock.now()));
}

/** A mail as ingest stores it. */
export function recordOf(id: string, body: MailRecord["body"], now: Date): MailRecord {
  return {
    _id: id,
    v: 1,
    state: "incoming",
    next: "plan",
    dueAt: now,
    origin: { via: "smtp", name: "bench" },
    smtp: {
      mailFrom: "sender@stranger.example",
      rcptTo: ["rcpt@bench.example"],
      client: { address: "192.0.2.1", name: "", helo: "stranger.example" },
    },
    recipients: [{ address: "rcpt@bench.example", outcome: "open", attempts: 0 }],
    receivedAt: now,
    body,
    header: { messageId: `<${id}@stranger.example>`, from: "sender@stranger.example" },
    verdicts: {},
    history: [],
  };
}

async function insertMails(
  database: Database,
  raw: Buffer,
  count: number,
  atOnce: number,
): Promise<void> {
  let left = count;
  const writer = async () => {
    for (; left > 0;) {
      left -= 1;
      await insertMail(database, raw);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, writer));
}

const writers = 16;
/** If no mail reaches the sink for this long, some are lost. */
const silenceMs = 60_000;

/**
 * Inserts this many mails, 16 at once, and waits until the sink has all of them; the waiting asks
 * nothing of the database. Returns milliseconds from the first insert to the last arrival.
 */
export async function insertToSink(
  { database, sink }: { database: Database; sink: SmtpSink },
  raw: Buffer,
  count: number,
): Promise<number> {
  const expected = sink.count + count;
  const beganAt = performance.now();
  const [, lastAt] = await Promise.all([
    insertMails(database, raw, count, writers),
    sink.arrived(expected, silenceMs),
  ]);
  await untilSent(database);
  return lastAt - beganAt;
}

const lookEveryMs = 50;

/**
 * Resolves when no mail is left in a state in which something waits.
 * @throws Error if a mail is held
 */
export async function untilSent(database: Database): Promise<void> {
  for (;;) {
    const waiting = await database.mails.waiting();
    if (waiting.length === 0) return;
    const stuck = waiting.find(({ state }) => state === "held");
    if (stuck !== undefined) throw new Error("a mail is held: the benchmark's policy is wrong");
    await new Promise((resolve) => setTimeout(resolve, lookEveryMs));
  }
}

/** A mail of that size in canonical form, as the database has it. */
export function rawMail(size: number): Buffer {
  const head =
    "Received: from stranger.example (stranger.example [192.0.2.1])\r\n" +
    "\tby bench.example with ESMTP id 0; Mon, 23 Nov 2026 00:00:00 +0000\r\n" +
    "From: Sender <sender@stranger.example>\r\nTo: rcpt@bench.example\r\n" +
    "Subject: bench\r\nMessage-ID: <bench@stranger.example>\r\n" +
    "Date: Mon, 23 Nov 2026 00:00:00 +0000\r\nMIME-Version: 1.0\r\n" +
    "Content-Type: text/plain; charset=us-ascii\r\n\r\n";
  const line = "The quick brown fox jumps over the lazy dog and runs on, mail after mail.\r\n";
  return Buffer.from(
    head + line.repeat(Math.max(1, Math.ceil((size - head.length) / line.length))),
  );
}
