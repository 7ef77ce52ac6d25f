import type { SmtpSession } from "@rs-agent/kit/smtp/smtp-session.ts";
import { openSession } from "./smtp-session.ts";

/** What became of the arrivals of a period, and how long their clients waited for a reply. */
export interface ArrivalCounts {
  /** Transactions begun. */
  begun: number;
  accepted: number;
  /** 452 or 421: try again later. */
  putOff: number;
  /** Any other outcome, by reply. */
  others: Record<string, number>;
  /** Arrivals that found every connection busy. */
  crowdedOut: number;
  /** Milliseconds from the final dot to its 250. */
  to250: number[];
  /** Milliseconds from MAIL to its 452. */
  toPutOff: number[];
}

export interface Arrivals {
  readonly counts: ArrivalCounts;
  /** Begins one transaction, unless every connection is busy. */
  arrive: () => void;
  /** Resolves when everything begun has had its reply. */
  settled(): Promise<void>;
  close(): void;
}

const mailbox = "rcpt@bench.example";

/** Clients that keep their connections and deliver over them, like an MTA with a full queue. */
export async function openArrivals(
  address: string,
  connections: number,
  raw: Buffer,
): Promise<Arrivals> {
  const sessions = await Promise.all(
    Array.from({ length: connections }, () => openSession(address)),
  );
  const idle = [...sessions];
  const underWay = new Set<Promise<void>>();
  const counts: ArrivalCounts = {
    begun: 0,
    accepted: 0,
    putOff: 0,
    others: {},
    crowdedOut: 0,
    to250: [],
    toPutOff: [],
  };
  const data = Buffer.concat([raw, Buffer.from(".\r\n")]);
  const other = (reply: string) => {
    const code = reply.slice(0, 3);
    counts.others[code] = (counts.others[code] ?? 0) + 1;
  };

  async function transact(session: SmtpSession): Promise<void> {
    const begun = performance.now();
    const mail = await session.say("MAIL FROM:<sender@stranger.example>\r\n");
    if (mail.startsWith("452") || mail.startsWith("421")) {
      counts.putOff += 1;
      counts.toPutOff.push(performance.now() - begun);
      return;
    }
    if (!mail.startsWith("250")) {
      other(mail);
      return;
    }
    session.send(`RCPT TO:<${mailbox}>\r\nDATA\r\n`);
    const [rcpt, ready] = [await session.reply(), await session.reply()];
    if (!ready.startsWith("354")) {
      other(rcpt);
      return;
    }
    const sent = performance.now();
    const reply = await session.say(data);
    if (!reply.startsWith("250")) {
      other(reply);
      return;
    }
    counts.accepted += 1;
    counts.to250.push(performance.now() - sent);
  }

  return {
    counts,
    arrive() {
      const session = idle.pop();
      if (session === undefined) {
        counts.crowdedOut += 1;
        return;
      }
      counts.begun += 1;
      const work = transact(session)
        .catch(() => other("gone"))
        .finally(() => {
          underWay.delete(work);
          // A session that has ended is not used again; the others go on.
          if (session.isOpen) idle.push(session);
        });
      underWay.add(work);
    },
    settled: async () => {
      await Promise.all(underWay);
    },
    close: () => {
      for (const session of sessions) session.close();
    },
  };
}
