import { once } from "node:events";
import { connect, createServer, type AddressInfo, type Socket } from "node:net";
import { setTimeout as wait } from "node:timers/promises";
import { gtube } from "@rs-agent/spam-worker/canary.ts";
import { engineVersion } from "./spam-engine-version.ts";

/**
 * A program: an engine that speaks spamd's protocol (SpamAssassin's spamd/PROTOCOL) and knows only
 * GTUBE. SpamAssassin itself makes only about 20 checks per second, so most mail of a run is judged
 * here. A share of the mail is passed on to the spamd of the argument, as much at once as it has
 * room for, and its answers are returned; while the share is too small, we judge slowly, so that it
 * catches up.
 * Standard output first says where the engine listens, and then, for each answered check of a mail,
 * who judged it (`ours`, `spamd`) and its id.
 */
const [spamd = ""] = process.argv.slice(2);
const passedOnAtOnce = 2;
/** Shares of all mail: SpamAssassin's checks are most of the work of a run's processors. */
const leastPassedOn = 0.18;
const mostPassedOn = 0.2;
const workMs = 60;
const slowWorkMs = 800;
const count = { judged: 0, passedOn: 0, withSpamd: 0 };
const maxRequestBytes = 2_000_000;

const server = createServer({ allowHalfOpen: true }, (socket) => {
  socket.on("error", () => socket.destroy());
  serve(socket).catch(() => socket.destroy());
});
server.listen(0, "127.0.0.1");
await once(server, "listening");
const { port } = server.address() as AddressInfo;
process.stdout.on("error", () => server.close());
process.stdout.write(`127.0.0.1:${port}\n`);

async function serve(socket: Socket): Promise<void> {
  const request = await requestOn(socket);
  if (request === undefined) {
    socket.end("SPAMD/1.0 76 Bad header line\r\n");
    return;
  }
  const isMail = mailIdIn(request) !== undefined;
  const isTheirTurn = count.passedOn <= count.judged * mostPassedOn;
  const isForSpamd = isMail && isTheirTurn && count.withSpamd < passedOnAtOnce;
  const spamdsAnswer = isForSpamd ? await answerOfSpamd(request) : undefined;
  // If spamd dies, perhaps of another mail, we do not die with it.
  const answer = spamdsAnswer ?? (await ourAnswer(request, isMail));
  const finished = once(socket, "finish");
  socket.end(answer, "latin1");
  await finished;
  if (!isMail) return;
  count.judged += 1;
  if (spamdsAnswer !== undefined) count.passedOn += 1;
  process.stdout.write(
    `${spamdsAnswer === undefined ? "ours" : "spamd"} ${mailIdIn(request) ?? ""}\n`,
  );
}

interface Request {
  method: string;
  mail: string;
  /** The whole request, as it came (latin1). */
  text: string;
}

/** A client ends its side when it has sent everything. */
async function requestOn(socket: Socket): Promise<Request | undefined> {
  const chunks: Buffer[] = [];
  let size = 0;
  socket.on("data", (chunk: Buffer) => {
    size += chunk.length;
    if (size <= maxRequestBytes) chunks.push(chunk);
  });
  await once(socket, "end");
  const text = Buffer.concat(chunks).toString("latin1");
  const end = text.indexOf("\r\n\r\n");
  const method = /^([A-Z]+) SPAMC\//.exec(text)?.[1];
  const length = Number(/^Content-length: (\d+)\r$/im.exec(text.slice(0, end + 2))?.[1] ?? 0);
  const mail = text.slice(end + 4);
  return method === undefined || mail.length !== length ? undefined : { method, mail, text };
}

/** The id in our newest Received field; a canary has none. */
function mailIdIn({ mail }: Request): string | undefined {
  return /\(rs-agent\) with \S+ id ([0-9a-z]+)/.exec(mail.slice(0, 4_000))?.[1];
}

/** Undefined if spamd is away or goes away. */
async function answerOfSpamd({ text }: Request): Promise<string | undefined> {
  const [host, port] = spamd.split(":");
  const socket = connect({ host, port: Number(port) });
  let answer = "";
  socket.setEncoding("latin1").on("data", (chunk: string) => (answer += chunk));
  socket.end(text, "latin1");
  count.withSpamd += 1;
  try {
    await once(socket, "close");
  } catch {
    return undefined;
  } finally {
    count.withSpamd -= 1;
  }
  return answer === "" ? undefined : answer;
}

async function ourAnswer({ method, mail }: Request, isMail: boolean): Promise<string> {
  const isBehind = isMail && count.passedOn < count.judged * leastPassedOn;
  await wait(isBehind ? slowWorkMs : workMs);
  const isSpam = mail.includes(gtube());
  const score = isSpam ? "Spam: True ; 1000.1 / 5.0" : "Spam: False ; 0.1 / 5.0";
  const body =
    method === "HEADERS"
      ? `X-Spam-Checker-Version: SpamAssassin ${engineVersion}\r\n\r\n`
      : report(isSpam);
  return `SPAMD/1.1 0 EX_OK\r\nContent-length: ${body.length}\r\n${score}\r\n\r\n${body}`;
}

function report(isSpam: boolean): string {
  return [
    "Content analysis details:",
    "",
    " pts rule name              description",
    "---- ---------------------- --------------------------------------------------",
    ...(isSpam
      ? ["1000 GTUBE                  BODY: Generic Test for Unsolicited Bulk Email"]
      : []),
    " 0.1 RDNS_NONE              Delivered to internal network by a host with no rDNS",
    "",
    "",
  ].join("\n");
}
