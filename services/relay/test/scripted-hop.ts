import { once } from "node:events";
import { createServer, type AddressInfo, type Socket } from "node:net";
import { TLSSocket } from "node:tls";
import { onTestFinished } from "vitest";

/** What the hop does at a step: sends this, byte for byte, and may hang up afterwards. */
interface Line {
  say: string;
  hangUp?: boolean;
}

export interface HopScript {
  /** What follows the name in the reply to EHLO or LHLO. */
  extensions?: readonly string[];
  /** PEM. TLS from the first byte, or after a STARTTLS that is answered with 220. */
  tls?: { key: string; cert: string; fromFirstByte?: boolean; extensions?: readonly string[] };
  greeting?: Line;
  /**
   * Called for each command line, and with "." at the end of the mail; undefined: as a hop that
   * takes everything. `nth` counts the lines of that verb from 1, over all sessions.
   */
  answer?: (verb: string, nth: number) => Line | undefined;
  /** Called with each piece of the mail that arrives. */
  onBody?: (socket: Socket) => void;
}

export interface ScriptedHop {
  port: number;
  /** Every command line of all sessions; `.` for the end of a mail. */
  lines: string[];
  /** The open sessions, the oldest first. */
  sockets: ReadonlySet<Socket>;
}

/**
 * A next hop for faults that a real one cannot be made to show (half a reply, an early one, a 421
 * in between). It speaks SMTP on a real socket, by the book unless its script says otherwise.
 * Closed with the test.
 */
export async function scriptedHop(script: HopScript): Promise<ScriptedHop> {
  const lines: string[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => undefined);
    const begun = script.tls?.fromFirstByte === true ? secured(socket, script) : socket;
    say(begun, script.greeting ?? { say: "220 hop ESMTP\r\n" });
    serve(begun, script, lines);
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  onTestFinished(async () => {
    server.close();
    for (const socket of sockets) socket.destroy();
    await once(server, "close");
  });
  return { port: (server.address() as AddressInfo).port, lines, sockets };
}

function secured(socket: Socket, { tls }: HopScript): TLSSocket {
  const secure = new TLSSocket(socket, { isServer: true, ...tls });
  secure.on("error", () => undefined);
  return secure;
}

function serve(socket: Socket, script: HopScript, lines: string[]): void {
  let rest = "";
  let inMail = false;
  const onData = (chunk: Buffer) => {
    if (inMail) script.onBody?.(socket);
    rest += chunk.toString("latin1");
    for (let end = rest.indexOf("\r\n"); end >= 0; end = rest.indexOf("\r\n")) {
      const line = rest.slice(0, end);
      rest = rest.slice(end + 2);
      if (inMail && line !== ".") continue;
      const verb = line === "." ? "." : line.slice(0, 4).toUpperCase();
      lines.push(line);
      const nth = lines.filter((seen) => seen.toUpperCase().startsWith(verb)).length;
      const answer = script.answer?.(verb, nth) ?? { say: usual(verb, script, socket) };
      inMail = verb === "DATA" && answer.say.startsWith("354");
      say(socket, answer);
      if (script.tls === undefined || verb !== "STAR" || !answer.say.startsWith("220")) continue;
      socket.off("data", onData);
      serve(secured(socket, script), script, lines);
    }
  };
  socket.on("data", onData);
}

function usual(verb: string, script: HopScript, socket: Socket): string {
  const { extensions = ["PIPELINING", "8BITMIME"], tls } = script;
  if (verb === "EHLO" || verb === "LHLO") {
    const words = ["hop", ...((socket instanceof TLSSocket && tls?.extensions) || extensions)];
    return words.map((word, at) => `250${at === words.length - 1 ? " " : "-"}${word}\r\n`).join("");
  }
  if (verb === "DATA") return "354 go on\r\n";
  if (verb === "AUTH") return "235 2.7.0 welcome\r\n";
  if (verb === "STAR") return "220 2.0.0 go on\r\n";
  return verb === "QUIT" ? "221 bye\r\n" : "250 2.0.0 ok\r\n";
}

function say(socket: Socket, line: Line): void {
  if (line.hangUp === true) socket.end(line.say);
  else socket.write(line.say);
}
