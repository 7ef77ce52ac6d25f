import type { Clock } from "@rs-agent/shared/clock.ts";
import { messageOf, RetryableError } from "@rs-agent/shared/errors.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { ClaimedMail, MailStore } from "@rs-agent/shared/store/mails.ts";

/** Our right to one mail, by a monotonic deadline that was counted from before the claim was sent. */
export interface Lease {
  readonly mailId: string;
  readonly token: string;
  /** Aborts when the right is over, or the relay closes: whatever is under way stops. */
  readonly signal: AbortSignal;
  /** To be asked before anything that cannot be undone; true until the deadline, whatever timers did. */
  isValid(): boolean;
  /**
   * The write that gives the mail back is under way: only its answer tells from now on whether the
   * lease was ours. A renewal that comes after it on the server finds none, as it should be.
   */
  settle(): void;
  /** The mail is written and given back: nothing is renewed any more. */
  end(): void;
}

interface Entry extends Lease {
  validUntilMs: number;
  settling: boolean;
  abort: AbortController;
}

export interface LeaseKeeperDeps {
  mails: Pick<MailStore, "renew">;
  clock: Pick<Clock, "monotonicMs">;
  log: Logger;
  leaseMs: number;
  /** Ends the service. */
  onBug: (error: unknown) => void;
}

/** Milliseconds to the next try of a renewal that failed. */
const renewSoonMs = 1_000;

/**
 * Keeps the leases of all mails in hand: renews them each third of their time in one call, and
 * aborts each at its deadline (I8). A late renewal brings nothing back: what was aborted stays so.
 */
export class LeaseKeeper {
  readonly #deps: LeaseKeeperDeps;
  readonly #held = new Map<string, Entry>();
  readonly #renewTimer: NodeJS.Timeout;
  readonly #deadlineTimer: NodeJS.Timeout;
  #soonTimer: NodeJS.Timeout | undefined;
  #renewing = false;
  #failing = false;
  #closed = false;

  constructor(deps: LeaseKeeperDeps) {
    this.#deps = deps;
    this.#renewTimer = setInterval(() => {
      this.#renew().catch(deps.onBug);
    }, deps.leaseMs / 3);
    this.#deadlineTimer = setInterval(() => this.#endOverdue(), Math.min(200, deps.leaseMs / 10));
  }

  hold({ mail, token, validUntilMs }: ClaimedMail): Lease {
    const abort = new AbortController();
    const { clock } = this.#deps;
    const entry: Entry = {
      mailId: mail._id,
      token,
      validUntilMs,
      settling: false,
      abort,
      signal: abort.signal,
      isValid: () => !abort.signal.aborted && clock.monotonicMs() < entry.validUntilMs,
      settle: () => {
        entry.settling = true;
      },
      end: () => {
        if (this.#held.get(mail._id) === entry) this.#held.delete(mail._id);
      },
    };
    this.#held.get(mail._id)?.abort.abort();
    this.#held.set(mail._id, entry);
    return entry;
  }

  /** Aborts all: sockets are destroyed now. */
  close(): void {
    clearInterval(this.#renewTimer);
    clearInterval(this.#deadlineTimer);
    clearTimeout(this.#soonTimer);
    this.#closed = true;
    for (const entry of this.#held.values()) entry.abort.abort();
    this.#held.clear();
  }

  async #renew(): Promise<void> {
    if (this.#renewing || this.#held.size === 0) return;
    this.#renewing = true;
    const held = [...this.#held.values()].filter((entry) => entry.isValid());
    try {
      const { validUntilMs, stale } = await this.#deps.mails.renew(held, this.#deps.leaseMs);
      this.#failing = false;
      const lost = new Set(stale);
      for (const entry of held) {
        if (lost.has(entry.mailId)) {
          if (!entry.settling) this.#lose(entry, "the lease is another's");
        } else if (entry.isValid()) {
          entry.validUntilMs = validUntilMs;
        }
      }
    } catch (error) {
      if (!(error instanceof RetryableError)) throw error;
      this.#renewSoon(error);
    } finally {
      this.#renewing = false;
    }
  }

  /** The sooner the database is asked again, the fewer leases are lost while it was away. */
  #renewSoon(error: RetryableError): void {
    const { log, onBug } = this.#deps;
    if (!this.#failing) log.warn({ reason: messageOf(error) }, "leases not renewed");
    this.#failing = true;
    if (this.#closed) return;
    clearTimeout(this.#soonTimer);
    this.#soonTimer = setTimeout(() => {
      this.#renew().catch(onBug);
    }, renewSoonMs);
  }

  #endOverdue(): void {
    for (const entry of this.#held.values()) {
      if (!entry.isValid()) this.#lose(entry, "the lease ended");
    }
  }

  #lose(entry: Entry, why: string): void {
    // One that ended normally meanwhile is nobody's loss.
    if (this.#held.get(entry.mailId) !== entry) return;
    this.#held.delete(entry.mailId);
    this.#deps.log.warn({ mailId: entry.mailId }, why);
    entry.abort.abort();
  }
}
