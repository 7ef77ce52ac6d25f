import { connect, type Socket } from "node:net";
import { connect as connectTls } from "node:tls";

/** What a next hop says to a client that only asks. */
export type Greeting =
  /** `offers`: the lines of its EHLO reply, in the order in which they came. */
  { kind: "answers"; offers: string[] } | { kind: "no"; reason: string };

export interface Greeted {
  host: string;
  port: number;
  protocol: "smtp" | "lmtp";
  /** The EHLO name. */
  name: string;
  timeoutMs: number;
}

const maxReplyBytes = 65_536;

/**
 * Connects, says EHLO (LHLO, RFC 2033) and QUIT, and nothing else: no mail is begun. On port 465
 * TLS comes first (RFC 8314 §3.3); its certificate is not checked here. Never rejects.
 */
export async function askGreeting({
  host,
  port,
  protocol,
  name,
  timeoutMs,
}: Greeted): Promise<Greeting> {
  const socket =
    port === 465
      ? connectTls({ host, port, rejectUnauthorized: false })
      : connect({ host, port, noDelay: true });
  const late = setTimeout(
    () => socket.destroy(new Error(`no answer within ${timeoutMs} ms`)),
    timeoutMs,
  );
  try {
    const replies = repliesOf(socket);
    const banner = await nextOf(replies);
    if (!banner.startsWith("220")) return { kind: "no", reason: `it answers ${oneLine(banner)}` };
    socket.write(`${protocol === "lmtp" ? "LHLO" : "EHLO"} ${name}\r\n`);
    const reply = await nextOf(replies);
    if (!reply.startsWith("250")) return { kind: "no", reason: `it answers ${oneLine(reply)}` };
    socket.end("QUIT\r\n");
    const [, ...lines] = reply.split("\n").map((line) => line.slice(4).trim());
    return { kind: "answers", offers: lines };
  } catch (error) {
    return { kind: "no", reason: error instanceof Error ? error.message : String(error) };
  } finally {
    clearTimeout(late);
    socket.destroy();
  }
}

/** Whole replies, with their lines joined by \n (RFC 5321 §4.2.1). */
async function* repliesOf(socket: Socket): AsyncGenerator<string, void> {
  let text = "";
  socket.setEncoding("utf8");
  for await (const chunk of socket as AsyncIterable<string>) {
    text += chunk;
    if (text.length > maxReplyBytes) throw new Error("its reply does not end");
    for (;;) {
      const [whole] = /^(?:\d{3}-[^\n]*\n)*\d{3}(?: [^\n]*)?\n/.exec(text) ?? [];
      if (whole === undefined) break;
      text = text.slice(whole.length);
      yield whole.replaceAll("\r", "").trimEnd();
    }
  }
}

async function nextOf(replies: AsyncGenerator<string, void>): Promise<string> {
  const next = await replies.next();
  if (next.done === true) throw new Error("it closes the connection");
  return next.value;
}

function oneLine(reply: string): string {
  return reply.replaceAll("\n", " ").slice(0, 200);
}
