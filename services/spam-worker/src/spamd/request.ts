import { TerminalError } from "@rs-agent/shared/errors.ts";

/**
 * What is asked of spamd: SpamAssassin's spamd/PROTOCOL, version 1.5, without PROCESS (we write
 * headers ourselves), REPORT_IFSPAM and SKIP.
 */
export const methods = ["CHECK", "SYMBOLS", "REPORT", "HEADERS", "PING", "TELL"] as const;
export type Method = (typeof methods)[number];

/** What TELL makes spamd do with a mail: in its Bayes tokens, and in the collaborative networks. */
export type Lesson =
  | { action: "learn"; class: "spam" | "ham" }
  | { action: "forget" }
  /** Learn as spam and report to the networks (Razor, Pyzor, SpamCop …). */
  | { action: "report" }
  /** Learn as ham and take the report back. */
  | { action: "revoke" };

export interface RequestOptions {
  method: Method;
  /** Whose preferences and Bayes tokens apply (`User`); absent: spamd's default user. */
  user?: string;
  lesson?: Lesson;
  /** The mail in pieces that are sent one after another; none for PING. */
  mail?: readonly Buffer[];
}

/**
 * The request's bytes: the head, then the mail's own buffers, not copied.
 * @throws TerminalError SPAM_ENGINE_ERROR for a user name that the protocol cannot carry
 */
export function encodeRequest(options: RequestOptions): Buffer[] {
  const mail = options.mail ?? [];
  const length = mail.reduce((sum, piece) => sum + piece.length, 0);
  const lines = [`${options.method} SPAMC/1.5`];
  if (options.user !== undefined) lines.push(`User: ${checkedUser(options.user)}`);
  if (options.lesson !== undefined) lines.push(...lessonHeaders(options.lesson));
  if (options.method !== "PING") lines.push(`Content-length: ${length}`);
  return [Buffer.from(lines.join("\r\n") + "\r\n\r\n"), ...mail];
}

function lessonHeaders(lesson: Lesson): string[] {
  switch (lesson.action) {
    case "learn":
      return [`Message-class: ${lesson.class}`, "Set: local"];
    case "forget":
      return ["Remove: local"];
    case "report":
      return ["Message-class: spam", "Set: local,remote"];
    case "revoke":
      return ["Message-class: ham", "Set: local", "Remove: remote"];
  }
}

/** A line end would smuggle in a header; a name of dots would leave the folder of virtual users. */
function checkedUser(user: string): string {
  if (/^[^\x00-\x1f\x7f]+$/.test(user) && !/^\.+$/.test(user)) return user;
  throw new TerminalError("SPAM_ENGINE_ERROR", `no user name for spamd: ${JSON.stringify(user)}`);
}
