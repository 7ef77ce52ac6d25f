import type { Timeouts } from "./config.ts";

/**
 * The time-outs of one transaction, step by step (RFC 5321 §4.5.3.2): each reply and each block of
 * the body that is given to the socket begins the next step's time. Owns one timer, which is set
 * anew only for a step that ends before it, and when it comes too early.
 */
export class TransactionTimer {
  #replies = 0;
  #bodyDone = false;
  #step = "";
  #limitMs = 0;
  #endsAtMs = 0;
  #timer: NodeJS.Timeout | undefined;
  #timerAtMs = Infinity;
  readonly #timeouts: Timeouts;
  readonly #recipients: number;
  readonly #onTimeout: (why: string) => void;

  constructor(timeouts: Timeouts, recipients: number, onTimeout: (why: string) => void) {
    this.#timeouts = timeouts;
    this.#recipients = recipients;
    this.#onTimeout = onTimeout;
    this.#begin();
  }

  onReply(): void {
    this.#replies += 1;
    this.#begin();
  }

  onBody(last: boolean): void {
    this.#bodyDone = last;
    this.#begin();
  }

  stop(): void {
    clearTimeout(this.#timer);
  }

  #begin(): void {
    [this.#step, this.#limitMs] = this.#current();
    this.#endsAtMs = performance.now() + this.#limitMs;
    if (this.#endsAtMs < this.#timerAtMs) this.#set(this.#limitMs);
  }

  #set(afterMs: number): void {
    clearTimeout(this.#timer);
    this.#timerAtMs = performance.now() + afterMs;
    this.#timer = setTimeout(() => this.#look(), afterMs);
  }

  #look(): void {
    const leftMs = this.#endsAtMs - performance.now();
    if (leftMs > 0) this.#set(Math.ceil(leftMs));
    else this.#onTimeout(`no answer to ${this.#step} within ${this.#limitMs / 1_000} s`);
  }

  #current(): [step: string, limitMs: number] {
    if (this.#replies === 0) return ["MAIL", this.#timeouts.mailMs];
    if (this.#replies <= this.#recipients) return ["RCPT", this.#timeouts.rcptMs];
    if (this.#replies === this.#recipients + 1) return ["DATA", this.#timeouts.dataMs];
    if (!this.#bodyDone) return ["a piece of the mail", this.#timeouts.blockMs];
    return ["the end of the mail", this.#timeouts.finalMs];
  }
}
