import { spawn } from "node:child_process";
import { connect } from "node:net";
import { parseEngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import { createSpamdClient } from "@rs-agent/spam-worker/spamd/client.ts";
import type { RunningSpamd } from "@rs-agent/kit/engines/spamd.ts";
import { timedRound, type Subject, type SubjectRound } from "./rounds.ts";
import { distinctMail } from "./sample-mails.ts";

/** A spamd with as many requests at once as it has children, which is all that it can do. */
export interface SpamdLoad {
  running: RunningSpamd;
  children: number;
  bytes: number;
  /** About how long a round should take. */
  roundMs: number;
}

/**
 * Asks for one mail.
 * @throws Error for anything but a verdict
 */
type Ask = (mail: Buffer) => Promise<void>;

/**
 * spamd's own rate: the command that our worker gives (`judge` in services/spam-worker), one
 * connection each as the protocol has it, and nothing else.
 */
export function bareSpamdSubject(load: SpamdLoad): Promise<Subject> {
  const { port } = load.running;
  return spamdSubject("spamd alone", load, async (mail) => {
    const socket = connect({ host: "127.0.0.1", port, noDelay: true });
    socket.write(`REPORT SPAMC/1.5\r\nContent-length: ${mail.length}\r\n\r\n`);
    socket.end(mail);
    let reply = "";
    for await (const chunk of socket.setEncoding("latin1")) reply += String(chunk);
    if (!/^Spam: (?:True|False) ;/m.test(reply)) throw new Error(`spamd says: ${reply}`);
  });
}

/** The spam-worker's client. */
export function spamdClientSubject(load: SpamdLoad): Promise<Subject> {
  const limits = { timeoutMs: 120_000, connectTimeoutMs: 5_000, maxReplyBytes: 1_000_000 };
  const client = createSpamdClient({
    address: parseEngineAddress(load.running.address),
    ...limits,
  });
  const { signal } = new AbortController();
  return spamdSubject("ours", load, async (mail) => {
    const answer = await client.report([mail], { signal });
    if (answer.kind === "failed") throw new Error(`spamd: ${answer.detail}`);
  });
}

/** SpamAssassin's own client, one process per mail. */
export function spamcSubject(load: SpamdLoad): Promise<Subject> {
  const { port } = load.running;
  const args = ["-d", "127.0.0.1", "-p", String(port), "-R", "-x"];
  return spamdSubject("spamc", load, async (mail) => {
    const child = spawn("spamc", args, { stdio: ["pipe", "pipe", "inherit"] });
    child.stdin.end(mail);
    let report = "";
    for await (const chunk of child.stdout.setEncoding("latin1")) report += String(chunk);
    if (!/^-?[\d.]+\/[\d.]+/.test(report)) throw new Error(`spamc says: ${report}`);
  });
}

async function spamdSubject(name: string, load: SpamdLoad, ask: Ask): Promise<Subject> {
  const round = (count: number) => spamdRound(load, count, ask);
  const { perSecond } = await round(load.children * 4);
  const count = Math.max(load.children * 4, Math.round((perSecond * load.roundMs) / 1_000));
  return { name, round: () => round(count) };
}

function spamdRound(
  { running, children, bytes }: SpamdLoad,
  count: number,
  ask: Ask,
): Promise<SubjectRound> {
  const mails = Array.from({ length: count }, () => distinctMail(bytes));
  const work = async () => {
    for (let mail = mails.pop(); mail !== undefined; mail = mails.pop()) await ask(mail);
  };
  return timedRound(
    () => ({ spamd: [running.pid] }),
    async () => {
      await Promise.all(Array.from({ length: children }, work));
      return count;
    },
  );
}
