import { mailFrom, rcptTo } from "./sample-mails.ts";
import { deliver, openSession, quit } from "./smtp-session.ts";

/** What became of a load. */
export interface LoadEnd {
  /** `performance.now()` of the first MAIL. */
  beganAt: number;
  /**
   * Sessions that the server ended before all was sent; what it had not taken went through another.
   */
  reopened: number;
}

/**
 * Delivers all mails over this many kept sessions, each as fast as the server takes them: a session
 * takes the next mail when it has its 250. A server that serves fewer sessions lets the others wait
 * for their greeting; once they are greeted, nothing may be left for them.
 * @throws Error for any reply that refuses a mail
 */
export async function deliverAll(
  address: string,
  mails: readonly Buffer[],
  sessions: number,
): Promise<LoadEnd> {
  const queue = [...mails].reverse();
  const end: LoadEnd = { beganAt: Number.NaN, reopened: 0 };
  const client = async () => {
    let session = await openSession(address);
    for (let mail = queue.pop(); mail !== undefined; mail = queue.pop()) {
      if (Number.isNaN(end.beganAt)) end.beganAt = performance.now();
      const reply = await deliver(session, mailFrom, rcptTo, mail);
      if (reply.startsWith("250")) continue;
      if (reply !== "" && !reply.startsWith("421")) throw new Error(`refused: ${reply.trim()}`);
      end.reopened += 1;
      queue.push(mail);
      session.close();
      session = await openSession(address);
    }
    await quit(session);
  };
  await Promise.all(Array.from({ length: sessions }, client));
  return end;
}

/** The reply to one mail, over a session of its own. */
export async function deliverOne(address: string, mail: Buffer): Promise<string> {
  const session = await openSession(address);
  try {
    return await deliver(session, mailFrom, rcptTo, mail);
  } finally {
    await quit(session);
  }
}
