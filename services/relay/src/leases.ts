import type { Clock } from "@rs-agent/shared/clock.ts";
import { messageOf, RetryableError } from "@rs-agent/shared/errors.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { Mode } from "@rs-agent/shared/mode.ts";
import { NeededTimer } from "@rs-agent/shared/needed-timer.ts";
import type { Holding } from "@rs-agent/shared/store/holding.ts";
import type { ClaimedMail, MailStore } from "@rs-agent/shared/store/mails.ts";

/**
 * Where our part in a mail stands: it is worked on; the write that gives it back is under way; the
 * lease is over, or the relay closes; it is written, given back or left to others.
 */
const modes = {
  working: [],
  settling: ["working", "lost"],
  lost: ["working", "settling"],
  ended: ["working", "settling", "lost", "ended"],
} as const;

/** Our right to one mail, by a monotonic deadline that was counted from before the claim was sent. */
export class Lease {
  readonly holding: Holding;
  validUntilMs: number;
  readonly #mode: Mode<keyof typeof modes>;
  readonly #abort = new AbortController();
  readonly #nowMs: () => number;
  readonly #onEnd: (lease: Lease) => void;

  constructor(
    { holding, validUntilMs }: ClaimedMail,
    nowMs: () => number,
    onEnd: (lease: Lease) => void,
  ) {
    this.holding = holding;
    this.validUntilMs = validUntilMs;
    this.#mode = new Mode(`the lease of ${holding.mailId}`, modes, "working");
    this.#nowMs = nowMs;
    this.#onEnd = onEnd;
  }

  /** Aborts when the right is over, or the relay closes: whatever is under way stops. */
  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  /**
   * Only the answer to the write under way tells whether the lease was ours: a renewal that comes
   * after it on the server finds none, as it should be.
   */
  get isSettling(): boolean {
    return this.#mode.is("settling");
  }

  /** To be asked before anything that cannot be undone; true until the deadline, whatever timers did. */
  isValid(): boolean {
    return this.#mode.is("working", "settling") && this.#nowMs() < this.validUntilMs;
  }

  /** The write that gives the mail back begins, once. It is guarded: also without the right. */
  settle(): void {
    this.#mode.enter("settling");
  }

  /** The right is over. */
  lose(): void {
    this.#mode.enter("lost");
    this.#abort.abort();
  }

  /** Nothing is renewed any more; may be said again. */
  end(): void {
    this.#mode.enter("ended");
    this.#onEnd(this);
  }
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
  readonly #held = new Map<string, Lease>();
  readonly #renewTimer: NodeJS.Timeout;
  readonly #deadlines: NeededTimer;
  #soonTimer: NodeJS.Timeout | undefined;
  #renewing = false;
  #failing = false;
  #closed = false;

  constructor(deps: LeaseKeeperDeps) {
    this.#deps = deps;
    this.#renewTimer = setInterval(() => {
      this.#renew().catch(deps.onBug);
    }, deps.leaseMs / 3);
    this.#deadlines = new NeededTimer({
      everyMs: Math.min(200, deps.leaseMs / 10),
      run: () => this.#endOverdue(),
      isNeeded: () => this.#held.size > 0,
    });
  }

  hold(claimed: ClaimedMail): Lease {
    const nowMs = () => this.#deps.clock.monotonicMs();
    const lease = new Lease(claimed, nowMs, (ended) => this.#forget(ended));
    this.#held.get(lease.holding.mailId)?.lose();
    this.#held.set(lease.holding.mailId, lease);
    this.#deadlines.need();
    return lease;
  }

  /** Aborts all: sockets are destroyed now. */
  close(): void {
    clearInterval(this.#renewTimer);
    this.#deadlines.close();
    clearTimeout(this.#soonTimer);
    this.#closed = true;
    for (const lease of this.#held.values()) lease.lose();
    this.#held.clear();
  }

  async #renew(): Promise<void> {
    if (this.#renewing || this.#held.size === 0) return;
    this.#renewing = true;
    const held = [...this.#held.values()].filter((lease) => lease.isValid());
    try {
      const { mails, leaseMs } = this.#deps;
      const holdings = held.map(({ holding }) => holding);
      const { validUntilMs, stale } = await mails.renew(holdings, leaseMs);
      this.#failing = false;
      const lost = new Set(stale);
      for (const lease of held) {
        if (lost.has(lease.holding.mailId)) {
          if (!lease.isSettling) this.#lose(lease, "the lease is another's");
        } else if (lease.isValid()) {
          lease.validUntilMs = validUntilMs;
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
    for (const lease of this.#held.values()) {
      if (!lease.isValid()) this.#lose(lease, "the lease ended");
    }
  }

  #lose(lease: Lease, why: string): void {
    // One that ended normally meanwhile is nobody's loss.
    if (!this.#forget(lease)) return;
    this.#deps.log.warn({ mailId: lease.holding.mailId }, why);
    lease.lose();
  }

  #forget(lease: Lease): boolean {
    return (
      this.#held.get(lease.holding.mailId) === lease && this.#held.delete(lease.holding.mailId)
    );
  }
}
