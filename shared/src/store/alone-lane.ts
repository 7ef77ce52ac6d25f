import type { Clock } from "../clock.ts";
import { messageOf, RetryableError } from "../errors.ts";
import { newToken } from "../ids.ts";
import type { Logger } from "../logger.ts";
import type { ClaimedMail, MailStore, SuspectClaim } from "./mails.ts";

/** Milliseconds. */
export const laneTiming = {
  /** A service that does not live so long is not killed by mail. */
  afterStart: 5_000,
  /** Between two looks for suspects. */
  look: 2_000,
  /** Nothing else was begun for this long, or nothing else is in hand, when a suspect is begun. */
  quiet: 10_000,
  /** Suspects are taken one after the other for this long; then others have their turn for as long. */
  alone: 10_000,
  poll: 50,
} as const;

export interface AloneLaneDeps {
  mails: Pick<MailStore, "suspectWaits" | "claimSuspect" | "livedThrough">;
  clock: Pick<Clock, "monotonicMs">;
  log: Logger;
  /** Which suspects could be worked on now; undefined: none. */
  wanted: () => SuspectClaim | undefined;
  /** Mails in hand. */
  inHand: () => number;
  /** Works on a suspect; settles when it is no longer in hand. */
  begin: (claimed: ClaimedMail) => Promise<void>;
  /** Others may be claimed again. */
  onOpen: () => void;
}

/**
 * Takes suspects, one at a time and nothing else begun beside them (poison.ts). Every other claim of
 * the service goes through `among`.
 * 1. While the lane is closed to others no claim is under way or begun.
 * 2. It is closed for at most `quiet` and `alone` together, and then open for at least `alone`.
 * 3. It opens only when the note of each claim made alone is taken back.
 */
export class AloneLane {
  readonly #deps: AloneLaneDeps;
  readonly #stopped = new AbortController();
  /** Notes that are to be taken back, also of claims of which no answer came. */
  readonly #owed = new Map<string, string>();
  #isOpen = true;
  #claimsUnderWay = 0;
  #lastTakenMs = -Infinity;
  #nextMs: number;
  #session: Promise<void> | undefined;

  constructor(deps: AloneLaneDeps) {
    this.#deps = deps;
    this.#nextMs = deps.clock.monotonicMs() + laneTiming.afterStart;
  }

  /** Nothing else may be claimed while this is false. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  /** Makes a claim of others, which says how many it took; none while the lane is closed. */
  async among(claim: () => Promise<number>): Promise<number> {
    if (!this.#isOpen) return 0;
    this.#claimsUnderWay += 1;
    try {
      const taken = await claim();
      if (taken > 0) this.#lastTakenMs = this.#nowMs();
      return taken;
    } finally {
      this.#claimsUnderWay -= 1;
    }
  }

  /** Looks for suspects when it is time to; called by a timer. Rejects only for a bug. */
  async tick(): Promise<void> {
    if (this.#session !== undefined || this.#stopped.signal.aborted) return;
    if (this.#nowMs() < this.#nextMs) return;
    this.#session = this.#look();
    await this.#session.finally(() => (this.#session = undefined));
  }

  /** Takes no more; settles when what it was about has ended. Others stay closed out. */
  async stop(): Promise<void> {
    this.#stopped.abort();
    await this.#session?.catch(() => undefined);
  }

  async #look(): Promise<void> {
    const { wanted, mails, log, onOpen } = this.#deps;
    this.#nextMs = this.#nowMs() + laneTiming.look;
    try {
      const claim = wanted();
      if (claim === undefined || !(await mails.suspectWaits(claim))) return;
      this.#isOpen = false;
      if (await this.#quiet()) await this.#takeAlone(this.#nowMs() + laneTiming.alone);
    } catch (error) {
      if (!(error instanceof RetryableError)) throw error;
      log.warn({ reason: messageOf(error) }, "no suspect claimed");
    }
    if (this.#isOpen) return;
    await this.#takeBack();
    this.#nextMs = this.#nowMs() + laneTiming.alone;
    this.#isOpen = !this.#stopped.signal.aborted;
    if (this.#isOpen) onOpen();
  }

  /** False: it was stopped meanwhile. */
  async #quiet(): Promise<boolean> {
    const isQuiet = () =>
      this.#claimsUnderWay === 0 &&
      (this.#deps.inHand() === 0 || this.#nowMs() - this.#lastTakenMs >= laneTiming.quiet);
    while (!isQuiet()) if (!(await this.#paused(laneTiming.poll))) return false;
    return !this.#stopped.signal.aborted;
  }

  async #takeAlone(untilMs: number): Promise<void> {
    const { mails, wanted, begin, log } = this.#deps;
    const taken: string[] = [];
    while (this.#nowMs() < untilMs && !this.#stopped.signal.aborted) {
      const claim = wanted();
      if (claim === undefined) return;
      const token = newToken();
      this.#owed.set(token, claim.owner);
      const claimed = await mails.claimSuspect({ ...claim, token, without: taken });
      if (claimed === undefined) {
        this.#owed.delete(token);
        return;
      }
      const mailId = claimed.mail._id;
      taken.push(mailId);
      log.warn({ mailId, unended: claimed.mail.unended }, "suspect taken alone");
      const over = new AbortController();
      const isDone = begin(claimed).finally(() => over.abort());
      await Promise.race([isDone, this.#paused(untilMs - this.#nowMs(), over.signal)]);
      await this.#takeBack();
    }
  }

  /** Until it is done: what ended well must not look like a death. */
  async #takeBack(): Promise<void> {
    for (const [token, owner] of this.#owed) {
      while (!(await this.#isTakenBack(token, owner))) {
        if (!(await this.#paused(laneTiming.look))) return;
      }
      this.#owed.delete(token);
    }
  }

  async #isTakenBack(token: string, owner: string): Promise<boolean> {
    try {
      await this.#deps.mails.livedThrough({ token, owner });
      return true;
    } catch (error) {
      if (error instanceof RetryableError) return false;
      throw error;
    }
  }

  /** False: it was stopped. */
  async #paused(ms: number, over?: AbortSignal): Promise<boolean> {
    const { signal } = this.#stopped;
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const timer = setTimeout(() => resolve(undefined), Math.max(1, ms));
    const either = AbortSignal.any(over === undefined ? [signal] : [signal, over]);
    if (either.aborted) resolve(undefined);
    either.onabort = () => resolve(undefined);
    await promise;
    clearTimeout(timer);
    return !signal.aborted;
  }

  #nowMs(): number {
    return this.#deps.clock.monotonicMs();
  }
}
