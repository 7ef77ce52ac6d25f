import { setTimeout as pause } from "node:timers/promises";
import { Budget } from "@rs-agent/shared/budget.ts";
import { messageOf, RetryableError } from "@rs-agent/shared/errors.ts";
import type { Route } from "@rs-agent/shared/mail/route.ts";
import { ExpectedMail } from "@rs-agent/shared/store/expected-mail.ts";
import type { ClaimedMail } from "@rs-agent/shared/store/mails.ts";
import type { DeliveryDeps, Way } from "./attempt.ts";
import { deliver } from "./delivery.ts";
import type { SessionFailure } from "./hop-session.ts";
import type { LeaseKeeper } from "./leases.ts";
import { NextHop, type NextHopOptions } from "./next-hop.ts";
import { isExpired } from "./schedule.ts";

export interface RouteQueueDeps {
  delivery: DeliveryDeps;
  leases: LeaseKeeper;
  hop: NextHopOptions;
  /** Mails taken by one claim. */
  batch: number;
  leaseMs: number;
  /** The longest time between two probes of a failed route. */
  probeMs: number;
  monotonicMs: () => number;
  /** False while a person has paused the relay, or it drains. */
  mayClaim: () => boolean;
  /** Makes a claim, unless the relay has a suspect alone in hand. */
  among: (claim: () => Promise<number>) => Promise<number>;
  /** Ends the service. */
  onBug: (error: unknown) => void;
}

/** What a route looks like from outside, for `status`. */
export interface RouteSnapshot {
  route: string;
  heldMails: number;
  openSessions: number;
  /** Why the hop cannot be reached, while it cannot. */
  failure?: string;
}

/** Hints that come within this time share a claim. */
const companyMs = 8;

/**
 * The mail of one route: claims it in batches as large as there is room (I7), sends as many at once
 * as there may be sessions. A route whose hop cannot be talked to is probed by one mail at a time,
 * less and less often, and costs the other routes nothing.
 */
export class RouteQueue implements Way {
  readonly slots: Budget;
  readonly #key: string;
  readonly #deps: RouteQueueDeps;
  readonly #hops = new Map<string, NextHop>();
  /** The same for a route that was asked for before: mails of one plan share theirs. */
  readonly #hopOf = new WeakMap<Route, NextHop>();
  /** Deliveries under way. */
  readonly #held = new Set<Promise<void>>();
  #failed: { failure: SessionFailure; delayMs: number; probeAtMs: number } | undefined;
  #probeTimer: NodeJS.Timeout | undefined;
  readonly #expected = new ExpectedMail();
  #claiming: Promise<void> | undefined;
  #usedAtMs: number;

  constructor(key: string, deps: RouteQueueDeps) {
    this.#key = key;
    this.#deps = deps;
    this.slots = new Budget(deps.hop.limit);
    this.#usedAtMs = deps.monotonicMs();
  }

  get snapshot(): RouteSnapshot {
    const openSessions = [...this.#hops.values()].reduce((sum, hop) => sum + hop.open, 0);
    const failure = this.#failed?.failure.reply;
    return {
      route: this.#key,
      heldMails: this.#held.size,
      openSessions,
      ...(failure === undefined ? {} : { failure }),
    };
  }

  /** Mails in hand. */
  get held(): number {
    return this.#held.size;
  }

  /** Milliseconds since there was last something to do. */
  get idleMs(): number {
    return this.#held.size > 0 ? 0 : this.#deps.monotonicMs() - this.#usedAtMs;
  }

  /** This mail waits for this route; or some does, or may. */
  poke(mailId?: string): void {
    this.#expected.expect(mailId);
    this.#look();
  }

  /** Sends a suspect, even if the route has failed; settles when it is no longer in hand. */
  takeAlone(suspect: ClaimedMail): Promise<void> {
    return this.#deliver(suspect, true);
  }

  /** Takes nothing new (the deps' `draining` says so too) and waits for what is under way. */
  async drained(): Promise<void> {
    clearTimeout(this.#probeTimer);
    await this.#claiming;
    await Promise.allSettled(this.#held);
  }

  close(): void {
    clearTimeout(this.#probeTimer);
    for (const hop of this.#hops.values()) hop.close();
  }

  hopFor(route: Route): NextHop {
    const known = this.#hopOf.get(route);
    if (known !== undefined) return known;
    // Routes of one key may differ in what the key does not say (TLS, credential, EHLO name).
    const id = JSON.stringify(Object.entries(route).sort());
    let hop = this.#hops.get(id);
    if (hop === undefined) {
      hop = new NextHop(route, this.#deps.hop);
      this.#hops.set(id, hop);
    }
    this.#hopOf.set(route, hop);
    return hop;
  }

  failure(): SessionFailure | undefined {
    return this.#failed?.failure;
  }

  onHopFailed(failure: SessionFailure): void {
    const { probeMs, monotonicMs, delivery } = this.#deps;
    const before = this.#failed?.delayMs;
    const delayMs = before === undefined ? probeMs / 32 : Math.min(before * 2, probeMs);
    this.#failed = { failure, delayMs, probeAtMs: monotonicMs() + delayMs };
    if (before === undefined) {
      delivery.log.warn(
        { route: this.#key, ...failure },
        "route failed, probed by one mail at a time",
      );
    }
    clearTimeout(this.#probeTimer);
    this.#probeTimer = setTimeout(() => this.poke(), delayMs);
  }

  onHopWorks(): void {
    if (this.#failed === undefined) return;
    this.#failed = undefined;
    clearTimeout(this.#probeTimer);
    this.#deps.delivery.log.info({ route: this.#key }, "route works again");
    this.poke();
  }

  #look(): void {
    this.#claiming ??= this.#claim()
      .catch(this.#deps.onBug)
      .finally(() => {
        this.#claiming = undefined;
        // A hint that came while the last claim found no room.
        const isOn = !this.#expected.isNone && this.#deps.mayClaim();
        if (isOn && this.#room() > 0) this.#look();
      });
  }

  async #claim(): Promise<void> {
    const { mails } = this.#deps.delivery.database;
    const owner = this.#deps.delivery.by;
    const states = ["ready", "relaying"] as const;
    const { leaseMs } = this.#deps;
    while (!this.#expected.isNone && this.#deps.mayClaim()) {
      const room = this.#room();
      if (room === 0) return;
      const wanted = this.#expected.take(room);
      try {
        const taken = await this.#deps.among(async () => {
          const asked = { states, next: this.#key, ...wanted, owner, leaseMs };
          const claimed = await mails.claim(asked);
          this.#take(claimed);
          return claimed.length;
        });
        if (wanted.only === undefined && taken >= wanted.limit) this.#expected.expect();
        else await pause(companyMs);
      } catch (error) {
        if (!(error instanceof RetryableError)) throw error;
        // The timer asks again.
        this.#deps.delivery.log.warn({ reason: messageOf(error) }, "no mail claimed");
        return;
      }
    }
  }

  /** How many mails may be claimed now; 0 until enough is free for a claim to be worth its cost. */
  #room(): number {
    const { batch, hop, monotonicMs } = this.#deps;
    const held = this.#held.size;
    if (this.#failed !== undefined) {
      return held > 0 || monotonicMs() < this.#failed.probeAtMs ? 0 : Math.min(batch, 10);
    }
    const free = hop.limit + batch - held;
    return held > 0 && free < Math.ceil(batch / 2) ? 0 : Math.min(free, batch);
  }

  #take(claimed: readonly ClaimedMail[]): void {
    const { delivery } = this.#deps;
    const now = delivery.database.clock.now();
    let probe = this.#failed !== undefined;
    for (const entry of claimed) {
      const isProbe = probe && !isExpired(entry.mail, now);
      if (isProbe) probe = false;
      void this.#deliver(entry, isProbe);
    }
  }

  #deliver(entry: ClaimedMail, probe: boolean): Promise<void> {
    const { delivery, leases, onBug, monotonicMs } = this.#deps;
    const lease = leases.hold(entry);
    const under = deliver(delivery, this, { mail: entry.mail, lease, probe })
      .catch(onBug)
      .finally(() => {
        this.#held.delete(under);
        this.#usedAtMs = monotonicMs();
        if (!this.#expected.isNone) this.#look();
      });
    this.#held.add(under);
    return under;
  }
}
