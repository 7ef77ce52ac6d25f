import { Agent } from "node:http";
import type { Clock } from "@rs-agent/shared/clock.ts";
import type { EngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import type { AskOptions, EngineFailure } from "@rs-agent/shared/engines/engine-client.ts";
import type { SmtpEnvelope } from "@rs-agent/shared/mail/smtp-envelope.ts";
import { askCanaries } from "../canary.ts";
import type { MailToJudge, SpamEngine } from "../spam-engine.ts";
import { exchange, type ExchangeLimits } from "./exchange.ts";
import { askedOf, type RspamdPoints } from "./finding.ts";
import { readReply, type CheckReply } from "./reply.ts";
import { requestHeaders } from "./request.ts";

export interface RspamdOptions extends ExchangeLimits, RspamdPoints {
  /** That of a normal worker or a proxy. */
  address: EngineAddress;
  clock: Clock;
}

type Checked = { kind: "checked"; reply: CheckReply; server: string } | EngineFailure;

/** The statuses by which rspamd says more than that it could not. */
const reasons: Readonly<Record<number, EngineFailure["reason"]>> = {
  413: "too-large",
  429: "busy",
  503: "busy",
};

/**
 * From this address to itself: rspamd's greylisting and address lists leave such a client alone.
 */
const canaryEnvelope: SmtpEnvelope = {
  mailFrom: "postmaster@example.com",
  rcptTo: ["postmaster@example.com"],
  client: { address: "127.0.0.1", name: "localhost", helo: "localhost" },
};

/** One rspamd, asked over HTTP (`POST /checkv2`). */
export function createRspamdEngine(options: RspamdOptions): SpamEngine {
  const { address, clock } = options;
  const agent = new Agent({ keepAlive: true });

  const check = async (mail: MailToJudge, asked: AskOptions): Promise<Checked> => {
    const timeoutMs = Math.min(options.timeoutMs, asked.timeoutMs);
    const headers = requestHeaders(mail);
    const question = { address, path: "/checkv2", headers, body: mail.raw, agent };
    const answer = await exchange(question, { ...options, timeoutMs }, asked.signal);
    if (answer.kind === "failed") return answer;
    const { status, server } = answer;
    const reading = readReply(answer);
    switch (reading.kind) {
      case "reply":
        return { kind: "checked", reply: reading.reply, server };
      case "garbled":
        return failed("engine-error", `rspamd's reply: ${reading.detail}`);
      case "refused": {
        const reason = reasons[status] ?? "engine-error";
        return failed(reason, `rspamd said ${String(status)}: ${reading.detail}`);
      }
    }
  };
  const askCanary = async (raw: Buffer, asked: AskOptions) => {
    const checked = await check({ mailId: "canary", raw, smtp: canaryEnvelope }, asked);
    if (checked.kind === "failed") return checked;
    const told = askedOf(checked.reply, options);
    if (told.kind === "failed") return told;
    const { finding } = told;
    if (finding.kind === "unchecked") return failed(finding.reason, finding.detail ?? "no answer");
    const { kind, score } = finding;
    return { kind: "answer" as const, spam: kind === "spam", score, server: checked.server };
  };

  return {
    name: "rspamd",
    address: address.text,
    async ask(mail, asked) {
      const checked = await check(mail, asked);
      return checked.kind === "failed" ? checked : askedOf(checked.reply, options);
    },
    async putCanariesThrough(asked) {
      const ask = (raw: Buffer) => askCanary(raw, asked);
      const told = await askCanaries(clock, ask, ask);
      if (told.kind === "unable") return told;
      return { kind: "able", engine: { name: "rspamd", version: versionOf(told.ham.server) } };
    },
    close: () => agent.destroy(),
  };
}

function failed(reason: EngineFailure["reason"], detail: string): EngineFailure {
  return { kind: "failed", reason, detail };
}

/** From `Server: rspamd/3.4`, which a proxy in front may drop. */
function versionOf(server: string): string {
  return /^rspamd\/([\w.-]{1,40})/.exec(server)?.[1] ?? "unknown";
}
