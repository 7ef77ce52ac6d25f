import { createTransport } from "nodemailer";
import { setTimeout as wait } from "node:timers/promises";
import { RetryableError, messageOf } from "@rs-agent/shared/errors.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { MailStore } from "@rs-agent/shared/store/mails.ts";
import { sampleClients, type Sample } from "../samples/samples.ts";

/** What became of one sample mail so far. */
export interface SampleFate {
  sample: Sample;
  /** The id that ingest answered; undefined if it refused the mail with `reply`. */
  id: string | undefined;
  reply: string;
  /** The mail's record, or those of the mails into which it was split. */
  records: MailRecord[];
}

const lookEveryMs = 50;
const timeoutMs = 60_000;

/**
 * Sends the samples by SMTP, each from the address that its direction requires, and returns ids and
 * replies. If ingest cannot see that address, outgoing ones go to a `submission` listener.
 */
export async function sendSamples(
  samples: readonly Sample[],
  smtp: string,
  submission = smtp,
): Promise<SampleFate[]> {
  const transportFrom = (localAddress: string, listener: string) =>
    createTransport({
      host: listener.slice(0, listener.lastIndexOf(":")),
      port: Number(listener.slice(listener.lastIndexOf(":") + 1)),
      localAddress,
      name: "client.example",
      ignoreTLS: true,
      pool: true,
      maxConnections: 2,
      disableFileAccess: true,
      disableUrlAccess: true,
    });
  const transports = {
    incoming: transportFrom(sampleClients.incoming, smtp),
    outgoing: transportFrom(sampleClients.outgoing, submission),
  };
  const send = async (sample: Sample): Promise<SampleFate> => {
    const envelope = {
      from: sample.mailFrom,
      to: sample.rcptTo,
      use8BitMime: sample.body === "8BITMIME",
    };
    try {
      const info = await transports[sample.direction].sendMail({ envelope, raw: sample.raw });
      const id = /queued as (\S+)/.exec(info.response)?.[1];
      return { sample, id, reply: info.response, records: [] };
    } catch (error) {
      return { sample, id: undefined, reply: messageOf(error), records: [] };
    }
  };
  try {
    return await Promise.all(samples.map(send));
  } finally {
    transports.incoming.close();
    transports.outgoing.close();
  }
}

/**
 * Reads the records until every recipient of every sample has met its end, or until time is up: the
 * rest are then still `open`.
 */
export async function awaitFates(
  fates: readonly SampleFate[],
  mails: MailStore,
  options: { signal: AbortSignal; report: (text: string) => void; withinMs?: number },
): Promise<SampleFate[]> {
  const giveUpAt = performance.now() + (options.withinMs ?? timeoutMs);
  let current = [...fates];
  for (;;) {
    current = await Promise.all(current.map(async (fate) => look(fate, mails)));
    const open = current.filter((fate) => !hasEnded(fate));
    if (open.length === 0 || performance.now() > giveUpAt) return current;
    const names = open.map(({ sample }) => sample.name);
    options.report(
      `${current.length - open.length} of ${current.length} sample mails are done, ` +
        `waiting for ${names.slice(0, 3).join(", ")}${names.length > 3 ? " …" : ""}`,
    );
    await wait(lookEveryMs, undefined, { signal: options.signal });
  }
}

export function hasEnded({ id, records }: SampleFate): boolean {
  if (id === undefined) return true;
  if (records.length === 0) return false;
  return records.every(({ recipients }) => recipients.every(({ outcome }) => outcome !== "open"));
}

async function look(fate: SampleFate, mails: MailStore): Promise<SampleFate> {
  if (fate.id === undefined || hasEnded(fate)) return fate;
  try {
    const mail = await mails.get(fate.id);
    if (mail === undefined) return fate;
    const records = mail.state === "split" ? await mails.children(mail._id) : [mail];
    return { ...fate, records };
  } catch (error) {
    if (error instanceof RetryableError) return fate;
    throw error;
  }
}
