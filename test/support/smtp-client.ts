import { createTransport } from "nodemailer";
import { messageOf } from "@rs-agent/shared/errors.ts";
import { people, sampleClients } from "../../start/samples/samples.ts";

/** A mail as a client hands it in. By default it is a stranger's mail to Anna. */
export interface Handed {
  /** In the tenant's network or not. */
  from?: keyof typeof sampleClients;
  mailFrom?: string;
  rcptTo?: string[];
  raw: Buffer | string;
}

/** The server's reply: to the mail as a whole, or the one that refused it. */
export async function handIn(smtp: string, mail: Handed): Promise<string> {
  const { from = "incoming", mailFrom = people.jonas, rcptTo = [people.anna], raw } = mail;
  const [host, port] = smtp.split(":");
  const transport = createTransport({
    host,
    port: Number(port),
    localAddress: sampleClients[from],
    name: "client.example",
    ignoreTLS: true,
  });
  try {
    const info = await transport.sendMail({
      envelope: { from: mailFrom, to: rcptTo, use8BitMime: true },
      raw,
    });
    return info.response;
  } catch (error) {
    const said = (error as { response?: unknown }).response;
    return typeof said === "string" ? said : messageOf(error);
  } finally {
    transport.close();
  }
}

/** The same for a mail that must be accepted; returns its id. */
export async function accepted(smtp: string, mail: Handed): Promise<string> {
  const reply = await handIn(smtp, mail);
  const id = /^250 .*queued as (\S+)/.exec(reply)?.[1];
  if (id === undefined) throw new Error(`not accepted: ${reply}`);
  return id;
}

/** Hands in many, a few at once, in no particular order; the ids are in the order of the mails. */
export async function acceptedAll(smtp: string, mails: readonly Handed[]): Promise<string[]> {
  const ids: string[] = Array.from({ length: mails.length }, () => "");
  const queue = [...mails.entries()];
  const client = async () => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      ids[next[0]] = await accepted(smtp, next[1]);
    }
  };
  await Promise.all(Array.from({ length: 4 }, client));
  return ids;
}

/** A short text mail, different each time. */
export function textMail(subject: string, fields: readonly string[] = []): Buffer {
  const header = [
    `From: Jonas Keller <${people.jonas}>`,
    `To: Anna Berg <${people.anna}>`,
    `Subject: ${subject}`,
    `Date: ${new Date().toUTCString().replace("GMT", "+0000")}`,
    `Message-ID: <${subject.replaceAll(/\W+/g, ".")}.${String(performance.now())}@partner.example>`,
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=us-ascii",
  ];
  const body = ["Dear Anna,", "", "the delivery will be with you on Thursday.", "", "Jonas", ""];
  return Buffer.from([...fields, ...header, "", ...body].join("\r\n"));
}
