import type { Timeouts } from "./config.ts";

/**
 * The time-outs of one transaction, step by step (RFC 5321 §4.5.3.2): each reply and each piece of
 * the body taken begins the next step's time. Owns one timer.
 */
export class TransactionTimer {
  #replies = 0;
  #bodyDone = false;
  #timer: NodeJS.Timeout | undefined;
  readonly #timeouts: Timeouts;
  readonly #recipients: number;
  readonly #onTimeout: (why: string) => void;

  constructor(timeouts: Timeouts, recipients: number, onTimeout: (why: string) => void) {
    this.#timeouts = timeouts;
    this.#recipients = recipients;
    this.#onTimeout = onTimeout;
    this.#arm();
  }

  onReply(): void {
    this.#replies += 1;
    this.#arm();
  }

  onBody(last: boolean): void {
    this.#bodyDone = last;
    this.#arm();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #arm(): void {
    clearTimeout(this.#timer);
    const [step, limitMs] = this.#step();
    this.#timer = setTimeout(() => {
      this.#onTimeout(`no answer to ${step} within ${limitMs / 1_000} s`);
    }, limitMs);
  }

  #step(): [step: string, limitMs: number] {
    if (this.#replies === 0) return ["MAIL", this.#timeouts.mailMs];
    if (this.#replies <= this.#recipients) return ["RCPT", this.#timeouts.rcptMs];
    if (this.#replies === this.#recipients + 1) return ["DATA", this.#timeouts.dataMs];
    if (!this.#bodyDone) return ["a piece of the mail", this.#timeouts.blockMs];
    return ["the end of the mail", this.#timeouts.finalMs];
  }
}
