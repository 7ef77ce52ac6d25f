import { messageOf } from "@rs-agent/shared/errors.ts";
import type { FloodMail } from "../mails/composer.ts";
import type { Lane, Sender, SendOutcome } from "./sender.ts";
import {
  dotStuffed,
  firstLine,
  SmtpSession,
  type SessionOptions,
} from "@rs-agent/kit/smtp/smtp-session.ts";

/** Mail by SMTP to any server: each lane keeps its connection, and opens another if it ends. */
export function createSmtpSender(options: SessionOptions & { target: string }): Sender {
  return {
    target: options.target,
    openLane: () => new SmtpLane(options),
    close: () => Promise.resolve(),
  };
}

class SmtpLane implements Lane {
  readonly #options: SessionOptions;
  #session: SmtpSession | undefined;
  #closed = false;

  constructor(options: SessionOptions) {
    this.#options = options;
  }

  async send(mail: FloodMail, raw: Buffer): Promise<SendOutcome> {
    try {
      if (this.#session?.isOpen !== true) this.#session = await SmtpSession.open(this.#options);
    } catch (error) {
      return { kind: "failed", reply: messageOf(error) };
    }
    if (this.#closed) {
      this.#hangUp();
      return { kind: "failed", reply: "the run is over" };
    }
    const outcome = await transact(this.#session, mail, raw);
    const isAtOdds = outcome.kind === "failed" || outcome.kind === "unknown";
    if (isAtOdds || ("reply" in outcome && outcome.reply.startsWith("421"))) this.#hangUp();
    return outcome;
  }

  close(): void {
    this.#closed = true;
    this.#hangUp();
  }

  #hangUp(): void {
    this.#session?.close();
    this.#session = undefined;
  }
}

/**
 * One transaction (RFC 5321 §3.3); its commands go together if the server can pipeline (RFC 2920).
 */
async function transact(session: SmtpSession, mail: FloodMail, raw: Buffer): Promise<SendOutcome> {
  const commands = commandsOf(session, mail, raw);
  const replies: string[] = [];
  if (session.offers("PIPELINING")) {
    session.send(commands.join(""));
    while (replies.length < commands.length) replies.push(await session.reply());
  } else {
    for (const command of commands) {
      const reply = await session.say(command);
      replies.push(reply);
      // Without a sender there is nothing to go on with; without one recipient there are the
      // others.
      if (reply === "" || (replies.length === 1 && !isPositive(reply))) break;
    }
  }
  const [sender = "", ...others] = replies;
  const ready = others[mail.rcptTo.length] ?? "";
  const refused = mail.rcptTo.flatMap((_, nth) => (isPositive(others[nth] ?? "") ? [] : [nth]));
  const isWanted = isPositive(sender) && refused.length < mail.rcptTo.length;
  if (!ready.startsWith("354")) {
    const first = [sender, ...others].find((reply) => !isPositive(reply)) ?? ready;
    if (first !== "" && replies.length < commands.length) await session.say("RSET\r\n");
    return notTaken(first);
  }
  if (!isWanted) {
    // 354 without a recipient (RFC 2920 §3.1): the mail must be ended all the same.
    await session.say(".\r\n");
    return notTaken(others[0] ?? sender);
  }
  session.send(Buffer.concat([dotStuffed(raw), Buffer.from(".\r\n")]));
  const last = await session.reply();
  if (last === "") return { kind: "unknown", reply: "no reply to the mail" };
  return last.startsWith("250") ? { kind: "accepted", refused } : notTaken(last);
}

function commandsOf(session: SmtpSession, { mailFrom, rcptTo }: FloodMail, raw: Buffer): string[] {
  const size = session.offers("SIZE") ? ` SIZE=${raw.length}` : "";
  const body =
    session.offers("8BITMIME") && raw.some((byte) => byte > 0x7f) ? " BODY=8BITMIME" : "";
  return [
    `MAIL FROM:<${mailFrom}>${size}${body}\r\n`,
    ...rcptTo.map((address) => `RCPT TO:<${address}>\r\n`),
    "DATA\r\n",
  ];
}

function isPositive(reply: string): boolean {
  return reply.startsWith("2");
}

function notTaken(reply: string): SendOutcome {
  if (reply === "") return { kind: "failed", reply: "the connection ended" };
  return { kind: reply.startsWith("4") ? "put-off" : "refused", reply: firstLine(reply) };
}
