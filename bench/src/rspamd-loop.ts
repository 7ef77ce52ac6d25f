import { Agent, request } from "node:http";
import type { RunningRspamd } from "@rs-agent/kit/engines/rspamd.ts";
import { timedRound, type Subject, type SubjectRound } from "./rounds.ts";
import { distinctMail } from "./sample-mails.ts";

export interface RspamdLoad {
  rspamd: RunningRspamd;
  bytes: number;
  /** About how long a round should take. */
  roundMs: number;
}

/** More than it has processes: each works on several mails. */
const atOnce = 8;
const warmUp = 64;
/**
 * Scanning with clamd is not part of its own work; its client address is the one that its milter
 * reports. https://docs.rspamd.com/configuration/settings/
 */
const headers = { Settings: JSON.stringify({ symbols_disabled: ["CLAM_VIRUS"] }), Ip: "127.0.0.1" };

/** rspamd's own rate: `POST /checkv2` over kept connections, and nothing else. */
export async function bareRspamdSubject(load: RspamdLoad): Promise<Subject> {
  const { perSecond } = await rspamdRound(load, warmUp);
  const count = Math.max(warmUp, Math.round((perSecond * load.roundMs) / 1_000));
  return { name: "rspamd alone", round: () => rspamdRound(load, count) };
}

function rspamdRound({ rspamd, bytes }: RspamdLoad, count: number): Promise<SubjectRound> {
  const agent = new Agent({ keepAlive: true, maxSockets: atOnce });
  const mails = Array.from({ length: count }, () => distinctMail(bytes));
  const work = async () => {
    for (let mail = mails.pop(); mail !== undefined; mail = mails.pop()) {
      const reply = await check(agent, rspamd.port, mail);
      if (!/"action":"no action"/.test(reply)) throw new Error(`rspamd says: ${reply}`);
    }
  };
  return timedRound(
    () => ({ rspamd: [rspamd.pid] }),
    async () => {
      await Promise.all(Array.from({ length: atOnce }, work)).finally(() => agent.destroy());
      return count;
    },
  );
}

function check(agent: Agent, port: number, mail: Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const where = { agent, host: "127.0.0.1", port, method: "POST", path: "/checkv2", headers };
    const asked = request(where, (response) => {
      let reply = "";
      response.setEncoding("utf8").on("data", (text: string) => (reply += text));
      response.on("end", () => resolve(reply)).on("error", reject);
    });
    asked.on("error", reject).end(mail);
  });
}
