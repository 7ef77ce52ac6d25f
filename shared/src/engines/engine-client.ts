import type { Engine, UncheckedReason } from "../checks/finding.ts";

/** What a client is asked with beside the question. */
export interface AskOptions {
  /** Aborts if nobody wants the answer any more. */
  signal: AbortSignal;
  /** Milliseconds for everything: connecting, sending, the engine's work, its answer. */
  timeoutMs: number;
}

/** A finding: whole, of the right form, the engine's own word (I2). Or why there is none. */
export type Asked<F> = { kind: "answered"; finding: F } | EngineFailure;

/** Why a question got no finding. */
export interface EngineFailure {
  kind: "failed";
  /** `engine-away` with nothing lost: it was not reached, has seen nothing, and another may be asked. */
  reason: UncheckedReason;
  detail: string;
  /** The engine went away, or did not answer in time, while it had the mail in hand. */
  lost?: "died" | "time-out";
  /** What befell others that were asked by the same connection. The question is asked once more, alone. */
  isShared?: true;
}

/** What the canaries found: which engine it is and what it is allowed not to see, or why it is left out. */
export type EngineState = { kind: "able"; engine: Engine; blind?: readonly string[] } | Unable;

/** `silent`: it says nothing at all, as if it hung; such a state lasts. */
export interface Unable {
  kind: "unable";
  reason: string;
  silent?: true;
}

/**
 * One engine at one address: what a pool needs of it, whatever it speaks. Neither `ask` nor
 * `putCanariesThrough` throws for what the engine does or does not; both may when `signal` aborts.
 * Q is what is asked, F what may be found.
 */
export interface EngineClient<Q, F> {
  /** What the engine is, as in `clamd`. */
  readonly name: string;
  readonly address: string;
  /** `alone`: nothing else shares the connection, so that only what befalls this question is its doing. */
  ask(question: Q, options: AskOptions & { alone?: boolean }): Promise<Asked<F>>;
  /** Asks what it must know: mails whose finding is known. `timeoutMs` is for each of them. */
  putCanariesThrough(options: AskOptions): Promise<EngineState>;
  /** Called once, by the pool. A client that sees by itself that its engine is unwell calls `leaveOut`. */
  watch?(leaveOut: (why: Unable) => void): void;
  /** Ends what is kept open between two questions. */
  close(): void;
}

/** A canary that got no answer. */
export function unableAfter({ detail, lost }: EngineFailure): Unable {
  return { kind: "unable", reason: detail, ...(lost === "time-out" && { silent: true }) };
}
