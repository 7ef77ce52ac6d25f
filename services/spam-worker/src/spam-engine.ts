import type { SpamFinding } from "@rs-agent/shared/checks/spam.ts";
import type { EngineClient } from "@rs-agent/shared/engines/engine-client.ts";
import type { EnginePool } from "@rs-agent/shared/engines/engine-pool.ts";
import type { SmtpEnvelope } from "@rs-agent/shared/mail/smtp-envelope.ts";

/** A mail as it is put to an engine. */
export interface MailToJudge {
  mailId: string;
  /** The raw mail, or the head of an oversized one. */
  raw: Buffer;
  smtp: SmtpEnvelope;
  /** Whose preferences and Bayes tokens apply; absent: the engine's default. */
  user?: string;
}

export type SpamEngine = EngineClient<MailToJudge, SpamFinding>;
export type SpamEnginePool = EnginePool<MailToJudge, SpamFinding>;
