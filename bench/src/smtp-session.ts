import { SmtpSession } from "@rs-agent/kit/smtp/smtp-session.ts";

/** Connects, reads the greeting and says EHLO. Waits for as long as the server makes it wait. */
export function openSession(address: string): Promise<SmtpSession> {
  const [host = "", port = ""] = address.split(":");
  return SmtpSession.open({ host, port: Number(port), name: "bench.example" });
}

/** Sends MAIL, RCPT and DATA in one go (RFC 2920); returns the whole reply to the final dot. */
export async function deliver(
  session: SmtpSession,
  from: string,
  to: string,
  data: Buffer,
): Promise<string> {
  session.send(`MAIL FROM:<${from}>\r\nRCPT TO:<${to}>\r\nDATA\r\n`);
  const mail = await session.reply();
  if (!mail.startsWith("250")) {
    // RCPT and DATA are refused along with MAIL, unless the server has gone.
    if (session.isOpen && !mail.startsWith("421")) {
      await session.reply();
      await session.reply();
    }
    return mail;
  }
  const rcpt = await session.reply();
  const ready = await session.reply();
  if (!ready.startsWith("354")) return rcpt.startsWith("250") ? ready : rcpt;
  return session.say(data);
}

export async function quit(session: SmtpSession): Promise<void> {
  if (session.isOpen) await session.say("QUIT\r\n");
  session.close();
}
