import type { Clock } from "@rs-agent/shared/clock.ts";
import { messageOf, RsError } from "@rs-agent/shared/errors.ts";
import type { Route } from "@rs-agent/shared/mail/route.ts";
import { readHopSecrets } from "./credentials.ts";
import { openSession, type HopSession, type SessionFailure } from "./hop-session.ts";
import type { Timeouts } from "./config.ts";
import type { Trusted } from "./trusted.ts";

export interface NextHopOptions {
  hostname: string;
  timeouts: Timeouts;
  trusted: Trusted;
  secretsDir: string | undefined;
  clock: Pick<Clock, "monotonicMs">;
  /** Sessions at once. */
  limit: number;
  idleMs: number;
}

export type Acquired =
  | { kind: "open"; session: HopSession; reused: boolean }
  | { kind: "failed"; failure: SessionFailure };

/** While a hop takes only so many connections, we do not ask it for more. */
const crowdedMs = 60_000;
/** How long a polite end may take. */
const quitMs = 2_000;

/**
 * The sessions with one next hop from one source address. Idle ones are used again, the last one
 * first; a hop that refuses one more connection while others work is not broken but crowded.
 */
export class NextHop {
  readonly route: Route;
  readonly #options: NextHopOptions;
  readonly #closing = new AbortController();
  readonly #sessions = new Set<HopSession>();
  readonly #idle: { session: HopSession; timer: NodeJS.Timeout }[] = [];
  #opening = 0;
  #crowd: { limit: number; untilMs: number } | undefined;
  #waiting: (() => void)[] = [];

  constructor(route: Route, options: NextHopOptions) {
    this.route = route;
    this.#options = options;
  }

  /** Sessions that are open, idle or at work. */
  get open(): number {
    return this.#sessions.size;
  }

  /** A session for one transaction; `failed` only if the hop cannot be reached at all. */
  async acquire(signal: AbortSignal): Promise<Acquired> {
    for (;;) {
      if (signal.aborted || this.#closing.signal.aborted) {
        this.#wakeOne();
        return failed("4.3.2", "given up");
      }
      const session = this.#takeIdle();
      if (session !== undefined) return { kind: "open", session, reused: true };
      if (this.#sessions.size + this.#opening < this.#limit()) {
        const opened = await this.#connect();
        if (opened.kind === "open") return opened;
        if (this.#sessions.size === 0) {
          for (const wake of this.#waiting.splice(0)) wake();
          return opened;
        }
        this.#crowd = {
          limit: this.#sessions.size,
          untilMs: this.#options.clock.monotonicMs() + crowdedMs,
        };
        // One may have been handed back meanwhile, when nobody waited for it yet.
        if (this.#idle.length > 0) continue;
      }
      await this.#anyRelease(signal);
    }
  }

  /** Hands a session back, after RSET if the last mail was refused. */
  async release(session: HopSession): Promise<void> {
    const isReady = await session.reset();
    if (isReady && !this.#closing.signal.aborted) this.#makeIdle(session);
    else session.destroy("the relay is closing");
    this.#wakeOne();
  }

  /** Ends idle sessions politely and those at work immediately. */
  close(): void {
    this.#closing.abort();
    for (const { session, timer } of this.#idle.splice(0)) {
      clearTimeout(timer);
      this.#sessions.delete(session);
      session.quit(quitMs);
    }
    for (const session of this.#sessions) session.destroy("the relay is closing");
    for (const wake of this.#waiting.splice(0)) wake();
  }

  async #connect(): Promise<Acquired> {
    const { hostname, timeouts, secretsDir } = this.#options;
    this.#opening += 1;
    try {
      const name = this.route.credential;
      const secrets =
        name === undefined
          ? { credential: undefined, certificate: undefined }
          : await readHopSecrets(secretsDir, name);
      const ca = await this.#options.trusted();
      const { route } = this;
      const signal = this.#closing.signal;
      const opened = await openSession({ route, hostname, timeouts, ca, ...secrets, signal });
      if (opened.kind === "failed") return opened;
      const { session } = opened;
      this.#sessions.add(session);
      session.whenOver(() => this.#forget(session));
      return { kind: "open", session, reused: false };
    } catch (error) {
      if (!(error instanceof RsError)) throw error;
      return failed("4.3.5", messageOf(error));
    } finally {
      this.#opening -= 1;
    }
  }

  #limit(): number {
    if (this.#crowd !== undefined && this.#options.clock.monotonicMs() > this.#crowd.untilMs) {
      this.#crowd = undefined;
    }
    return this.#crowd?.limit ?? this.#options.limit;
  }

  #takeIdle(): HopSession | undefined {
    for (let last = this.#idle.pop(); last !== undefined; last = this.#idle.pop()) {
      clearTimeout(last.timer);
      if (last.session.alive) return last.session;
    }
    return undefined;
  }

  #makeIdle(session: HopSession): void {
    const timer = setTimeout(() => {
      this.#idle.splice(
        this.#idle.findIndex((entry) => entry.session === session),
        1,
      );
      session.quit(quitMs);
    }, this.#options.idleMs);
    this.#idle.push({ session, timer });
  }

  #forget(session: HopSession): void {
    this.#sessions.delete(session);
    const at = this.#idle.findIndex((entry) => entry.session === session);
    if (at >= 0) clearTimeout(this.#idle.splice(at, 1)[0]?.timer);
    this.#wakeOne();
  }

  #wakeOne(): void {
    this.#waiting.shift()?.();
  }

  async #anyRelease(signal: AbortSignal): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const wake = () => resolve(undefined);
    this.#waiting.push(wake);
    signal.addEventListener("abort", wake, { once: true });
    await promise;
    signal.removeEventListener("abort", wake);
    this.#waiting = this.#waiting.filter((entry) => entry !== wake);
  }
}

function failed(status: string, reply: string): Acquired {
  return { kind: "failed", failure: { status, reply } };
}
