import type { Ledger } from "../ledger.ts";
import type { FloodMail } from "../mails/composer.ts";
import type { Intended } from "../senders/lanes.ts";
import type { SendOutcome } from "../senders/sender.ts";
import { Latencies } from "./latency.ts";
import { Timeline } from "./timeline.ts";

/** Mails by the result of handing them in. */
export interface HandedIn {
  offered: number;
  accepted: number;
  putOff: number;
  refused: number;
  failed: number;
  unknown: number;
  /** Every connection was busy and the waiting room full, or the run was over. */
  notSent: number;
  /** Recipients of accepted mails that were refused. */
  refusedRecipients: number;
  /** Bytes of the mails that were sent. */
  bytes: number;
}

export interface TallyOptions {
  ledger: Ledger;
  mail: (number: number) => FloodMail;
  /** Whether a sink sees copies of mails come in. */
  hasSink: boolean;
}

const statusOf = {
  accepted: "accepted",
  "put-off": "put-off",
  refused: "refused",
  failed: "failed",
  unknown: "unknown",
} as const;

/**
 * Counts a run. All times are counted from when the mail should have been sent, so that a server
 * that makes its clients wait cannot hide it (no coordinated omission).
 */
export class Tally {
  readonly handedIn: HandedIn = {
    offered: 0,
    accepted: 0,
    putOff: 0,
    refused: 0,
    failed: 0,
    unknown: 0,
    notSent: 0,
    refusedRecipients: 0,
    bytes: 0,
  };
  readonly accept = new Latencies();
  /** Until the last recipient's copy came. */
  readonly endToEnd = new Latencies();
  readonly timeline = new Timeline();
  /** Each reply that was not a yes, and how often it came. */
  readonly replies = new Map<string, number>();
  /** Accepted mails whose copies the sink should see, and those whose copies it has seen. */
  expected = 0;
  delivered = 0;
  copies = 0;
  duplicates = 0;
  readonly #options: TallyOptions;
  /** No mail below this number is still awaited. */
  #oldest = 0;

  constructor(options: TallyOptions) {
    this.#options = options;
  }

  due(number: number, atMs: number): void {
    this.handedIn.offered += 1;
    this.timeline.count("offered");
    this.#options.ledger.due(number, atMs);
  }

  sent(bytes: number): void {
    this.handedIn.bytes += bytes;
  }

  crowdedOut({ number }: Intended): void {
    this.handedIn.notSent += 1;
    this.timeline.count("errors");
    this.#options.ledger.setStatus(number, "not-sent");
  }

  outcome({ number, atMs }: Intended, outcome: SendOutcome): void {
    const { ledger } = this.#options;
    if (outcome.kind !== "accepted") {
      this.handedIn[outcome.kind === "put-off" ? "putOff" : outcome.kind] += 1;
      this.timeline.count("errors");
      this.#countReply(outcome.reply);
      ledger.setStatus(number, statusOf[outcome.kind]);
      return;
    }
    const ms = performance.now() - atMs;
    this.accept.add(ms);
    this.timeline.accepted(ms);
    this.handedIn.accepted += 1;
    this.handedIn.refusedRecipients += outcome.refused.length;
    ledger.setStatus(number, "accepted", outcome.refused);
    if (!this.#isExpected(number)) return;
    this.expected += 1;
    // Its copies may have been quicker than the reply.
    this.#settle(number);
  }

  /** A copy for one recipient has come in at the sink. */
  copy(number: number, address: string): void {
    const { ledger, mail } = this.#options;
    if (number >= ledger.size) return;
    const place = mail(number).rcptTo.findIndex((one) => equal(one, address));
    if (place < 0) return;
    this.copies += 1;
    if (ledger.addCopy(number, place) > 1) this.duplicates += 1;
    else if (this.#isExpected(number) && ledger.status(number) === "accepted") this.#settle(number);
  }

  /** Accepted mails whose copies are still awaited. */
  get awaited(): number {
    return this.expected - this.delivered;
  }

  /** How long the oldest of them has been on its way. */
  oldestMs(now: number): number | undefined {
    const { ledger } = this.#options;
    if (!this.#options.hasSink || this.awaited === 0) return undefined;
    while (this.#oldest < ledger.size && !this.#isAwaited(this.#oldest)) {
      // A mail without a reply yet may be awaited later.
      if (ledger.status(this.#oldest) === "due") break;
      this.#oldest += 1;
    }
    return this.#oldest < ledger.size ? now - ledger.atMs(this.#oldest) : undefined;
  }

  #isAwaited(number: number): boolean {
    const { ledger } = this.#options;
    return (
      ledger.status(number) === "accepted" && !ledger.isDone(number) && this.#isExpected(number)
    );
  }

  /** Spam and viruses need not arrive, and nobody knows about real mail. */
  #isExpected(number: number): boolean {
    if (!this.#options.hasSink) return false;
    const { kind } = this.#options.mail(number);
    return kind === "clean" || kind === "big";
  }

  #settle(number: number): void {
    const { ledger, mail } = this.#options;
    const isWhole = mail(number).rcptTo.every(
      (_, place) => ledger.copies(number, place) > 0 || ledger.isRefused(number, place),
    );
    if (!isWhole || ledger.isDone(number)) return;
    ledger.setDone(number);
    this.delivered += 1;
    const ms = performance.now() - ledger.atMs(number);
    this.endToEnd.add(ms);
    this.timeline.delivered(ms);
  }

  #countReply(reply: string): void {
    // Ids and addresses make each reply different.
    const text = reply.replace(/<[^>]*>|\b\w*\d\w{5,}\b/g, "…").slice(0, 100);
    const known = this.replies.has(text) || this.replies.size < mostReplies;
    const key = known ? text : "other replies";
    this.replies.set(key, (this.replies.get(key) ?? 0) + 1);
  }
}

const mostReplies = 50;

/** Domains are case-insensitive, and a relay may write them differently. */
function equal(one: string, other: string): boolean {
  return one === other || one.toLowerCase() === other.toLowerCase();
}
