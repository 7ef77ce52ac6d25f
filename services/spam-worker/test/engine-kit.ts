import { systemClock } from "@rs-agent/shared/clock.ts";
import { parseEngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import { unchecked } from "@rs-agent/shared/checks/finding.ts";
import type { SpamFinding } from "@rs-agent/shared/checks/spam.ts";
import type { Asked } from "@rs-agent/shared/engines/engine-client.ts";
import { createRspamdEngine } from "../src/rspamd/engine.ts";
import type { MailToJudge, SpamEngine } from "../src/spam-engine.ts";
import { createSpamdEngine } from "../src/spamd/engine.ts";
import type { FakeEngine, Script } from "./fake-engine.ts";
import { gtubeReply, http, reply, startFakeRspamd } from "./fake-rspamd.ts";
import { startFakeSpamd } from "./fake-spamd.ts";

interface KitLimits {
  timeoutMs: number;
  connectTimeoutMs: number;
  maxReplyBytes: number;
}

/** What tests need of an engine in order to test all engines alike. */
export interface EngineKit {
  name: "spamd" | "rspamd";
  version: string;
  startFake(script?: Script, port?: number): Promise<FakeEngine>;
  connect(address: string, limits: KitLimits): SpamEngine;
  /** Complete answers that call any mail spam, or ham. */
  spam: string;
  ham: string;
  /** An answer by which it puts the mail off because it is busy itself. */
  busy: { text: string; words: RegExp };
  /** An answer that states this length instead of its own; and what is reported. */
  wrongLength(length: number): string;
}

const spamdAnswer = (score: string, body = "RDNS_NONE") =>
  `SPAMD/1.1 0 EX_OK\r\nContent-length: ${body.length}\r\nSpam: ${score}\r\n\r\n${body}`;

const spamd: EngineKit = {
  name: "spamd",
  version: "4.0.1",
  startFake: startFakeSpamd,
  connect: (address, limits) =>
    createSpamdEngine({ address: parseEngineAddress(address), clock: systemClock, ...limits }),
  spam: spamdAnswer("True ; 9.0 / 5.0"),
  ham: spamdAnswer("False ; 0.0 / 5.0"),
  busy: { text: "SPAMD/1.0 75 EX_TEMPFAIL\r\n", words: /spamd said EX_TEMPFAIL/ },
  wrongLength: (length) =>
    spamdAnswer("False ; 0.0 / 5.0").replace(/h: \d+/, `h: ${String(length)}`),
};

/** What is known of every rspamd in the tests. */
export const rspamdKnown = { requiredPoints: 6, taskTimeoutMs: 8_000 };

const rspamd: EngineKit = {
  name: "rspamd",
  version: "3.4",
  startFake: startFakeRspamd,
  connect: (address, limits) =>
    createRspamdEngine({
      address: parseEngineAddress(address),
      clock: systemClock,
      ...rspamdKnown,
      ...limits,
    }),
  spam: http(reply({ score: 9, action: "add header" })),
  ham: http(reply()),
  busy: {
    text: http({ error: "too many connections" }, { status: "503 Service Unavailable" }),
    words: /rspamd said 503/,
  },
  wrongLength: (length) => http(gtubeReply).replace(/h: \d+/, `h: ${String(length)}`),
};

export const engineKits: readonly EngineKit[] = [spamd, rspamd];

/** A mail with this raw text, for the pool or a client. */
export function mailToJudge(raw: string | Buffer, changes: Partial<MailToJudge> = {}): MailToJudge {
  return {
    mailId: "m1",
    raw: Buffer.from(raw),
    smtp: {
      mailFrom: "sender@envelope.example",
      rcptTo: ["b@example.com"],
      client: { address: "198.51.100.7", name: "", helo: "client.example.net" },
    },
    ...changes,
  };
}

/** What an engine's answer means for the mail. */
export function findingOf(asked: Asked<SpamFinding>): SpamFinding {
  return asked.kind === "answered" ? asked.finding : unchecked(asked.reason, asked.detail);
}
