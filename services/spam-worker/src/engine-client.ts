import type { SmtpEnvelope } from "@rs-agent/shared/mail/smtp-envelope.ts";
import type { Engine, UncheckedReason } from "@rs-agent/shared/checks/finding.ts";
import type { SpamFinding } from "@rs-agent/shared/checks/spam.ts";

/** A mail as an engine is asked about it. */
export interface MailToJudge {
  mailId: string;
  /** The raw mail, or the head of an oversized one. */
  raw: Buffer;
  smtp: SmtpEnvelope;
  /** Whose preferences and Bayes tokens apply; absent: the engine's default. */
  user?: string;
}

export interface AskOptions {
  signal: AbortSignal;
  /** A shorter deadline than the client's own, in milliseconds. */
  timeoutMs: number;
}

/** Why a request gave no judgement. */
export interface EngineFailure {
  kind: "failed";
  reason: UncheckedReason;
  detail: string;
  /** The engine went away, or did not answer in time, while it had the mail. */
  lost?: "died" | "time-out";
}

/** A finding, and what it says about the engine. */
export interface Judgement {
  finding: SpamFinding;
  lost?: EngineFailure["lost"];
  /** That it is `unchecked` is the engine's own word on this mail, and no reason to doubt the engine. */
  isEnginesWord?: true;
}

export type CanaryOutcome = { kind: "able"; engine: Engine } | { kind: "unable"; reason: string };

/**
 * One spam engine at one address: what the pool needs of it, whatever it speaks. Neither method throws
 * for what the engine does or does not; `signal` makes them throw when it aborts.
 */
export interface SpamEngineClient {
  readonly engineName: string;
  readonly address: string;
  /**
   * I2: without an answer that is whole, of the right form and free of contradictions the finding is
   * `unchecked`.
   */
  judge(mail: MailToJudge, options: AskOptions): Promise<Judgement>;
  /** GTUBE must be spam to it, a clean mail must be ham. */
  putCanariesThrough(options: AskOptions): Promise<CanaryOutcome>;
  /** Closes what is kept open between two mails. */
  close(): void;
}

/** An engine that was not asked, or did not answer about the mail. */
export function unchecked({ reason, detail, lost }: EngineFailure): Judgement {
  return {
    finding: { kind: "unchecked", reason, detail: detail.slice(0, 1_000) },
    ...(lost === undefined ? {} : { lost }),
  };
}
