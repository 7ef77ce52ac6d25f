/** One whole reply of RFC 5321 §4.2: all its lines, joined by `\n`, without the last line end. */
export type Reply = string;

/** Characters of a reply that are kept. */
export const maxReply = 4_000;

/** The class of a reply: its first digit, or 0 if it has none. */
export function replyClass(reply: Reply): number {
  return /^[2345]\d\d/.test(reply) ? Number(reply.charAt(0)) : 0;
}

/**
 * The enhanced status code that the reply carries (RFC 2034), or the class alone (`4.0.0`) if it
 * carries none or one of another class.
 */
export function statusOf(reply: Reply): string {
  const digit = String(replyClass(reply));
  const found = /^\d{3}[ -]([245]\.\d{1,3}\.\d{1,3})(?:\s|$)/.exec(reply)?.[1];
  return found?.startsWith(digit) === true ? found : `${digit}.0.0`;
}

/** Cuts a stream of bytes into whole replies; what is not ended by a line end is not a reply. */
export class ReplyParser {
  #rest = "";
  #lines: string[] = [];

  /** The replies that are whole with this chunk. */
  push(chunk: Buffer): Reply[] {
    const lines = (this.#rest + chunk.toString("latin1")).split("\n");
    this.#rest = lines.pop() ?? "";
    const replies: Reply[] = [];
    for (const line of lines) {
      const text = line.replace(/\r$/, "");
      if (text === "") continue;
      this.#lines.push(text);
      if (/^\d{3}-/.test(text)) continue;
      replies.push(readable(this.#lines.join("\n")));
      this.#lines = [];
    }
    return replies;
  }
}

/** Replies have no charset: UTF-8 if it is that, otherwise the bytes as Latin-1. */
function readable(bytes: string): string {
  const text = Buffer.from(bytes, "latin1").toString("utf8");
  return (text.includes("\ufffd") ? bytes : text).slice(0, maxReply);
}
