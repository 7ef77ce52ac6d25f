import { createDeadline } from "@rs-agent/shared/deadline.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { Engine } from "@rs-agent/shared/checks/finding.ts";
import { messageOf } from "@rs-agent/shared/errors.ts";
import type { ClamdAddress } from "./address.ts";
import { ping } from "./command.ts";
import type { ScanInput } from "./frames.ts";
import { ClamdSession, type SessionLimits, type SessionOutcome } from "./session.ts";

/** What a check of one clamd found: its version and what it is allowed not to see, or why not. */
export type EngineState =
  | { kind: "able"; engine: Engine; blind: readonly string[] }
  /** `silent`: it was not reached at all, as in a reload that blocks; such a state lasts. */
  | { kind: "unable"; reason: string; silent?: true };

/** Tests whether a clamd can do its work. Never rejects by itself; ends when the signal aborts. */
export type CheckEngine = (address: ClamdAddress, signal: AbortSignal) => Promise<EngineState>;

export interface EngineOptions {
  /** Sessions to one clamd, and scans at once in each of them. */
  sessions: number;
  depth: number;
  checkTimeoutMs: number;
  /** Time until a clamd that is unable is checked again; doubled up to `recheckMaxMs`. */
  recheckMs: number;
  recheckMaxMs: number;
  /** Scans that go on for this long without one answer have clamd asked for a PONG. */
  quietMs: number;
  /** Without it in this time clamd hangs, or loads its signatures and does nothing else. */
  pongMs: number;
  session: SessionLimits;
}

/**
 * One clamd: its sessions, its load, and whether it is able. It becomes able by a check alone, and
 * is left out from the moment that it breaks a session, or gives no sign of life, until a check
 * succeeds again. A PONG proves nothing of its ability; that there is none proves that it is unable.
 */
export class ClamdEngine {
  readonly address: ClamdAddress;
  readonly #options: EngineOptions;
  readonly #check: CheckEngine;
  readonly #log: Logger;
  readonly #onChange: () => void;
  readonly #closing = new AbortController();
  /** Those that scans share, and those of one scan alone. */
  readonly #sessions = new Set<ClamdSession>();
  readonly #loneSessions = new Set<ClamdSession>();
  #state: EngineState = { kind: "unable", reason: "not checked yet" };
  #reserved = 0;
  #failedChecks = 0;
  #checking: Promise<EngineState> | undefined;
  #recheck: NodeJS.Timeout | undefined;
  readonly #quiet: QuietWatch;

  constructor(
    address: ClamdAddress,
    options: EngineOptions,
    deps: { check: CheckEngine; log: Logger; onChange: () => void },
  ) {
    this.address = address;
    this.#options = options;
    this.#check = deps.check;
    this.#log = deps.log;
    this.#onChange = deps.onChange;
    this.#quiet = new QuietWatch(options.quietMs, () => this.#demandPong());
  }

  get state(): EngineState {
    return this.#state;
  }

  get capacity(): number {
    return this.#state.kind === "able" ? this.#options.sessions * this.#options.depth : 0;
  }

  /** Places for a scan; none while the engine is unable. */
  get free(): number {
    return Math.max(0, this.capacity - this.#reserved);
  }

  /** Takes a place, which the caller gives back by the returned function, once. */
  reserve(): () => void {
    this.#reserved++;
    return () => {
      this.#reserved--;
      this.#onChange();
    };
  }

  /** One scan in the session with the least to do; with `alone` in one that no other scan enters. */
  async scan(
    input: ScanInput,
    signal: AbortSignal,
    { alone }: { alone: boolean },
  ): Promise<SessionOutcome> {
    const session = alone ? this.#open(this.#loneSessions) : this.#leastBusySession();
    this.#quiet.begin();
    const outcome = await session.scan(input, signal);
    this.#quiet.end(outcome.kind === "answered");
    if (alone) session.destroy();
    return outcome;
  }

  /** Checks now, or joins the check that is under way. */
  check(): Promise<EngineState> {
    this.#checking ??= this.#runCheck().finally(() => (this.#checking = undefined));
    return this.#checking;
  }

  /** Leaves the engine out until a check, started immediately, succeeds. */
  suspect(reason: string): void {
    this.#leaveOut({ kind: "unable", reason });
  }

  close(): void {
    this.#closing.abort();
    clearTimeout(this.#recheck);
    this.#quiet.close();
    for (const session of [...this.#sessions, ...this.#loneSessions]) session.destroy();
    this.#state = { kind: "unable", reason: "closed" };
  }

  #leaveOut(state: EngineState & { kind: "unable" }): void {
    if (this.#state.kind === "unable" || this.#closing.signal.aborted) return;
    this.#become(state);
    this.#scheduleRecheck(0);
  }

  /**
   * clamd answers PING beside its scans, however long these take. Scans under way are left to their
   * deadlines: after a reload they are answered.
   */
  async #demandPong(): Promise<void> {
    if (this.#state.kind === "unable") return;
    const { pongMs } = this.#options;
    const deadline = createDeadline(pongMs, this.#closing.signal);
    try {
      await ping(this.address, deadline.signal);
    } catch (error) {
      const wasSilent = deadline.signal.aborted;
      const hint = wasSilent ? ` within ${pongMs} ms: it hangs, or loads its signatures` : "";
      const reason = messageOf(error) + hint;
      this.#leaveOut({ kind: "unable", reason, ...(wasSilent && { silent: true }) });
    } finally {
      deadline.end();
    }
  }

  #leastBusySession(): ClamdSession {
    const open = [...this.#sessions].sort(
      (a, b) => a.inFlight - b.inFlight || a.unsentBytes - b.unsentBytes,
    );
    const [first] = open;
    if (first !== undefined && (first.inFlight === 0 || open.length >= this.#options.sessions)) {
      return first;
    }
    return this.#open(this.#sessions);
  }

  #open(kind: Set<ClamdSession>): ClamdSession {
    const session = new ClamdSession(this.address, this.#options.session);
    kind.add(session);
    void session.ended.then((end) => {
      kind.delete(session);
      if (end.kind === "broken") this.suspect(end.detail);
    });
    return session;
  }

  async #runCheck(): Promise<EngineState> {
    clearTimeout(this.#recheck);
    const timeout = new AbortController();
    const timer = setTimeout(() => timeout.abort(), this.#options.checkTimeoutMs);
    const stop = () => timeout.abort();
    this.#closing.signal.addEventListener("abort", stop, { once: true });
    const state = await this.#check(this.address, timeout.signal);
    this.#closing.signal.removeEventListener("abort", stop);
    clearTimeout(timer);
    if (this.#closing.signal.aborted) return this.#state;
    this.#become(state);
    this.#failedChecks = state.kind === "able" ? 0 : this.#failedChecks + 1;
    if (state.kind === "unable") this.#scheduleRecheck(this.#recheckDelayMs());
    return state;
  }

  #recheckDelayMs(): number {
    const { recheckMs, recheckMaxMs } = this.#options;
    return Math.min(recheckMaxMs, recheckMs * 2 ** Math.min(this.#failedChecks - 1, 20));
  }

  #scheduleRecheck(delayMs: number): void {
    clearTimeout(this.#recheck);
    this.#recheck = setTimeout(() => void this.check(), delayMs);
  }

  #become(state: EngineState): void {
    const before = this.#state;
    this.#state = state;
    const clamd = this.address.text;
    if (state.kind === "able" && before.kind === "unable") {
      this.#log.info({ clamd, engine: state.engine, blind: state.blind }, "clamd is able");
    } else if (state.kind === "unable" && !isSame(before, state)) {
      this.#log.warn({ clamd, reason: state.reason }, "clamd is left out");
    }
    this.#onChange();
  }
}

/** Calls back when scans have been under way for this long without an answer to any of them. */
class QuietWatch {
  readonly #quietMs: number;
  readonly #onQuiet: () => Promise<void>;
  #underWay = 0;
  #timer: NodeJS.Timeout | undefined;

  constructor(quietMs: number, onQuiet: () => Promise<void>) {
    this.#quietMs = quietMs;
    this.#onQuiet = onQuiet;
  }

  begin(): void {
    this.#underWay++;
    this.#timer ??= this.#start();
  }

  /** `heard`: clamd has answered. */
  end(heard: boolean): void {
    this.#underWay--;
    if (this.#underWay === 0) this.close();
    else if (heard) this.#timer?.refresh();
  }

  close(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #start(): NodeJS.Timeout {
    const timer = setTimeout(() => {
      void this.#onQuiet().then(() => {
        if (this.#timer === timer) timer.refresh();
      });
    }, this.#quietMs);
    return timer;
  }
}

function isSame(before: EngineState, now: EngineState & { kind: "unable" }): boolean {
  return before.kind === "unable" && before.reason === now.reason;
}
