import { createTransport } from "nodemailer";
import { setTimeout as wait } from "node:timers/promises";
import { people } from "../../start/samples/samples.ts";

/** Distinct mails, handed in at a steady pace. */
export interface Traffic {
  /** Ids of all accepted mails so far: they got a 250, so none may be lost. */
  readonly accepted: ReadonlySet<string>;
  /** Ends it; resolves when the last reply has come. */
  stop(): Promise<void>;
}

/** A mail that was refused, or lost its connection, is handed in again, as a client does. */
export function startTraffic(smtp: string, perSecond: number): Traffic {
  const colon = smtp.lastIndexOf(":");
  const transport = createTransport({
    host: smtp.slice(0, colon),
    port: Number(smtp.slice(colon + 1)),
    name: "client.example",
    ignoreTLS: true,
    connectionTimeout: 5_000,
    socketTimeout: 30_000,
  });
  const accepted = new Set<string>();
  const stopping = new AbortController();
  const sending = new Set<Promise<void>>();
  let number = 0;

  const send = async (n: number) => {
    for (;;) {
      try {
        const info = await transport.sendMail({
          envelope: { from: people.jonas, to: [people.anna] },
          raw: mail(n),
        });
        const id = /queued as (\S+)/.exec(info.response)?.[1];
        if (id !== undefined) accepted.add(id);
        return;
      } catch {
        if (stopping.signal.aborted) return;
        await wait(1_000, undefined, { signal: stopping.signal }).catch(() => undefined);
      }
    }
  };
  const run = async () => {
    while (!stopping.signal.aborted) {
      const one = send(number++).finally(() => sending.delete(one));
      sending.add(one);
      await wait(1_000 / perSecond, undefined, { signal: stopping.signal }).catch(() => undefined);
    }
  };
  const running = run();
  return {
    accepted,
    stop: async () => {
      stopping.abort();
      await running;
      await Promise.all(sending);
      transport.close();
    },
  };
}

function mail(n: number): string {
  return [
    `From: Jonas Keller <${people.jonas}>`,
    `To: Anna Berg <${people.anna}>`,
    `Subject: note ${n}`,
    `Date: ${new Date().toUTCString().replace("GMT", "+0000")}`,
    `Message-ID: <traffic.${n}.${Date.now().toString(36)}@partner.example>`,
    "MIME-Version: 1.0",
    "Content-Type: text/plain; charset=us-ascii",
    "",
    `This is note ${n} of many, and there is nothing more to it.`,
    "",
  ].join("\r\n");
}
