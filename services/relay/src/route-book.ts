import { messageOf, RetryableError } from "@rs-agent/shared/errors.ts";
import type { Clock } from "@rs-agent/shared/clock.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { ControlStore } from "@rs-agent/shared/store/controls.ts";
import { AloneLane } from "@rs-agent/shared/store/alone-lane.ts";
import type { ClaimedMail, MailStore } from "@rs-agent/shared/store/mails.ts";
import { RouteQueue, type RouteQueueDeps, type RouteSnapshot } from "./route-queue.ts";

export interface RouteBookDeps {
  mails: Pick<
    MailStore,
    "routesWaiting" | "dueFor" | "suspectWaits" | "claimSuspect" | "livedThrough"
  >;
  controls: Pick<ControlStore, "paused">;
  log: Logger;
  clock: Pick<Clock, "monotonicMs">;
  queue: Omit<RouteQueueDeps, "mayClaim" | "among">;
  pollMs: number;
  onBug: (error: unknown) => void;
}

/** A queue with nothing to do for this long is closed; the next mail opens another. */
const forgottenAfterMs = 600_000;

/** Of more than these the timer tells. */
const routesByHint = 10_000;

/** Looking for routes takes at most this part of the database's time, however much waits. */
const searchPart = 1 / 20;
const relayedStates = ["ready", "relaying"] as const;
/** Once in this many looks, it is asked whether a person has paused the relay. */
const pausesEvery = 2;
/** Once in this many searches, mail is looked for that a relay left in `relaying` when it died. */
const leftBehindEvery = 5;

/** All routes for which mail waits, each with its queue: found by hints and the timer (I6). */
export class RouteBook {
  readonly #deps: RouteBookDeps;
  readonly #queues = new Map<string, RouteQueue>();
  readonly #lane: AloneLane;
  #timer: NodeJS.Timeout | undefined;
  #polling: Promise<void> | undefined;
  #paused = false;
  #failing = false;
  /** In the last search: else there is no suspect either. */
  #hasWaiting = true;
  #looks = 0;
  #searches = 0;
  #searchAtMs = 0;

  constructor(deps: RouteBookDeps) {
    this.#deps = deps;
    this.#lane = this.#createLane();
  }

  get snapshots(): RouteSnapshot[] {
    return [...this.#queues.values()].map((queue) => queue.snapshot);
  }

  /** Settles once the waiting mail has been looked for the first time, or the database is away. */
  async start(): Promise<void> {
    this.#timer = setInterval(() => {
      this.#poll();
      if (this.#hasWaiting) this.#lane.tick().catch(this.#deps.onBug);
    }, this.#deps.pollMs);
    this.#poll();
    await this.#polling;
  }

  /** A dispatcher says so, of these mails. Nobody makes us keep more routes than we may have. */
  onWaiting(route: string, mailIds: readonly string[]): void {
    if (!this.#queues.has(route) && this.#queues.size >= routesByHint) return;
    for (const mailId of mailIds) this.#poke(route, mailId);
  }

  /** Anything may wait. */
  look(): void {
    this.#poll();
  }

  async drained(): Promise<void> {
    clearInterval(this.#timer);
    await this.#polling;
    await this.#lane.stop();
    await Promise.all([...this.#queues.values()].map((queue) => queue.drained()));
  }

  close(): void {
    clearInterval(this.#timer);
    for (const queue of this.#queues.values()) queue.close();
  }

  #poll(): void {
    this.#polling ??= this.#discover()
      .catch(this.#deps.onBug)
      .finally(() => {
        this.#polling = undefined;
      });
  }

  async #discover(): Promise<void> {
    const { controls, log } = this.#deps;
    try {
      if (this.#looks++ % pausesEvery === 0)
        this.#paused = (await controls.paused()).includes("relay");
      if (!this.#paused) {
        for (const route of await this.#search()) this.#poke(route);
      }
      this.#failing = false;
    } catch (error) {
      if (!(error instanceof RetryableError)) throw error;
      if (!this.#failing) log.warn({ reason: messageOf(error) }, "waiting mail not looked for");
      this.#failing = true;
    }
    this.#forgetIdle();
  }

  async #search(): Promise<string[]> {
    const { mails } = this.#deps;
    const { monotonicMs } = this.#deps.queue;
    const beganMs = monotonicMs();
    if (beganMs < this.#searchAtMs) return [];
    const next = await mails.routesWaiting("ready");
    this.#searches += 1;
    if (this.#searches % leftBehindEvery === 1)
      next.push(...(await mails.routesWaiting("relaying")));
    this.#hasWaiting = next.length > 0;
    const due = next.length === 0 ? [] : await mails.dueFor({ states: relayedStates, next });
    this.#searchAtMs = beganMs + (monotonicMs() - beganMs) / searchPart;
    return due;
  }

  #poke(route: string, mailId?: string): void {
    if (!this.#mayClaim()) return;
    this.#queueOf(route).poke(mailId);
  }

  #queueOf(route: string): RouteQueue {
    let queue = this.#queues.get(route);
    if (queue === undefined) {
      queue = new RouteQueue(route, {
        ...this.#deps.queue,
        mayClaim: () => this.#mayClaim() && this.#lane.isOpen,
        among: (claim) => this.#lane.among(claim),
      });
      this.#queues.set(route, queue);
    }
    return queue;
  }

  #mayClaim(): boolean {
    return !this.#paused && !this.#deps.queue.delivery.draining.aborted;
  }

  #createLane(): AloneLane {
    const { mails, clock, log, queue } = this.#deps;
    const { leaseMs } = queue;
    const owner = queue.delivery.by;
    return new AloneLane({
      mails,
      clock,
      log,
      wanted: () => (this.#mayClaim() ? { states: relayedStates, owner, leaseMs } : undefined),
      inHand: () => [...this.#queues.values()].reduce((sum, { held }) => sum + held, 0),
      begin: (suspect) => this.#begin(suspect),
      onOpen: () => {
        for (const route of this.#queues.keys()) this.#poke(route);
      },
    });
  }

  /** `next` is the route's key in every record that a relay claims. */
  #begin(suspect: ClaimedMail): Promise<void> {
    return this.#queueOf(suspect.mail.next ?? "").takeAlone(suspect);
  }

  #forgetIdle(): void {
    for (const [route, queue] of this.#queues) {
      if (queue.idleMs < forgottenAfterMs) continue;
      queue.close();
      this.#queues.delete(route);
    }
  }
}
