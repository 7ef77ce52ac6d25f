import { Agent } from "node:http";
import type { Clock } from "@rs-agent/shared/clock.ts";
import type { SmtpEnvelope } from "@rs-agent/shared/mail/smtp-envelope.ts";
import { canaryMail, gtube } from "../canary.ts";
import { parseEngineAddress } from "../engine-address.ts";
import {
  unchecked,
  type AskOptions,
  type CanaryOutcome,
  type EngineFailure,
  type Judgement,
  type MailToJudge,
  type SpamEngineClient,
} from "../engine-client.ts";
import { exchange, type ExchangeLimits } from "./exchange.ts";
import { findingOf, type RspamdPoints } from "./finding.ts";
import { readReply, type CheckReply } from "./reply.ts";
import { requestHeaders } from "./request.ts";

export interface RspamdOptions extends ExchangeLimits, RspamdPoints {
  /** `host:port`, `[v6]:port`, or the path of a unix socket, of a normal worker or a proxy. */
  address: string;
  clock: Clock;
}

type Checked = { kind: "checked"; reply: CheckReply; server: string } | EngineFailure;

/** Of rspamd's statuses, those that say more than that it could not. */
const reasons: Readonly<Record<number, EngineFailure["reason"]>> = {
  413: "too-large",
  429: "busy",
  503: "busy",
};

/** From here to here: rspamd's greylisting and its lists of addresses leave such a client alone. */
const canaryEnvelope: SmtpEnvelope = {
  mailFrom: "postmaster@example.com",
  rcptTo: ["postmaster@example.com"],
  client: { address: "127.0.0.1", name: "localhost", helo: "localhost" },
};

/**
 * One rspamd, asked by HTTP (`POST /checkv2`).
 * @throws TerminalError CFG_INVALID for an address of no known form
 */
export function createRspamdEngine(options: RspamdOptions): SpamEngineClient {
  const { clock } = options;
  const address = parseEngineAddress(options.address);
  const agent = new Agent({ keepAlive: true });

  const check = async (mail: MailToJudge, asked: AskOptions): Promise<Checked> => {
    const timeoutMs = Math.min(options.timeoutMs, asked.timeoutMs);
    const question = {
      address,
      path: "/checkv2",
      headers: requestHeaders(mail),
      body: mail.raw,
      agent,
    };
    const answer = await exchange(question, { ...options, timeoutMs }, asked.signal);
    if (answer.kind === "failed") return answer;
    const reading = readReply(answer);
    if (reading.kind === "reply")
      return { kind: "checked", reply: reading.reply, server: answer.server };
    const { status } = answer;
    return reading.kind === "garbled"
      ? { kind: "failed", reason: "engine-error", detail: `rspamd's reply: ${reading.detail}` }
      : {
          kind: "failed",
          reason: reasons[status] ?? "engine-error",
          detail: `rspamd said ${String(status)}: ${reading.detail}`,
        };
  };
  const judge = async (mail: MailToJudge, asked: AskOptions): Promise<Judgement> => {
    const checked = await check(mail, asked);
    return checked.kind === "failed" ? unchecked(checked) : findingOf(checked.reply, options);
  };

  const canary = async (text: string, asked: AskOptions) => {
    const now = clock.now();
    const raw = canaryMail(now, text);
    const checked = await check({ mailId: "canary", raw, smtp: canaryEnvelope }, asked);
    if (checked.kind === "failed") return { why: checked.detail };
    const { finding } = findingOf(checked.reply, options);
    return finding.kind === "unchecked"
      ? { why: finding.detail }
      : { finding, server: checked.server };
  };
  const putCanariesThrough = async (asked: AskOptions): Promise<CanaryOutcome> => {
    const unable = (why = "no answer"): CanaryOutcome => ({
      kind: "unable",
      reason: `rspamd ${options.address}: ${why}`,
    });
    const spam = await canary(gtube(), asked);
    if (spam.finding === undefined) return unable(spam.why);
    if (spam.finding.kind !== "spam") return unable(hamText(spam.finding.score));
    const ham = await canary("All is well.", asked);
    if (ham.finding === undefined) return unable(ham.why);
    if (ham.finding.kind !== "ham") {
      return unable(`a clean mail is spam to it (${String(ham.finding.score)} points)`);
    }
    return { kind: "able", engine: { name: "rspamd", version: versionOf(ham.server) } };
  };

  return {
    engineName: "rspamd",
    address: options.address,
    judge,
    putCanariesThrough,
    close: () => agent.destroy(),
  };
}

function hamText(score: number): string {
  return `GTUBE is ham to it (${String(score)} points)`;
}

/** From `Server: rspamd/3.4`, which a proxy in front may drop. */
function versionOf(server: string): string {
  return /^rspamd\/([\w.-]{1,40})/.exec(server)?.[1] ?? "unknown";
}
