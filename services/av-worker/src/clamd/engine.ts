import type { VirusFinding } from "@rs-agent/shared/checks/virus.ts";
import type { Clock } from "@rs-agent/shared/clock.ts";
import { createDeadline } from "@rs-agent/shared/deadline.ts";
import type { EngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import type {
  Asked,
  AskOptions,
  EngineClient,
  EngineState,
  Unable,
} from "@rs-agent/shared/engines/engine-client.ts";
import { EnginePool, type EnginePoolOptions } from "@rs-agent/shared/engines/engine-pool.ts";
import { messageOf } from "@rs-agent/shared/errors.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { unchecked } from "@rs-agent/shared/checks/finding.ts";
import { ping } from "./command.ts";
import { isPathForClamd, type ScanInput } from "./frames.ts";
import { findingOf, nameOf } from "./replies.ts";
import { ClamdSession, defaultSessionLimits, type SessionLimits } from "./session.ts";

/** Tests whether a clamd can do its work. Never rejects; ends when the signal aborts. */
export type CheckClamd = (address: EngineAddress, signal: AbortSignal) => Promise<EngineState>;

export interface ClamdOptions {
  /** Sessions to one clamd, and scans at once in each of them. */
  sessions: number;
  depth: number;
  /** When scans go on for this long without a single answer, clamd is asked for a PONG. */
  quietMs: number;
  /**
   * A clamd that sends no PONG within this time hangs, or loads its signatures and does nothing
   * else.
   */
  pongMs: number;
  session: SessionLimits;
  /** clamd's StreamMaxLength: a larger mail is `unchecked: too-large` and never sent. */
  streamMaxBytes: number;
}

const defaultOptions: ClamdOptions = {
  sessions: 2,
  depth: 4,
  quietMs: 3_000,
  pongMs: 5_000,
  session: defaultSessionLimits,
  streamMaxBytes: 25 * 1024 * 1024,
};

export type ClamdPool = EnginePool<ScanInput, VirusFinding>;
export type ClamdPoolOptions = Partial<ClamdOptions & Omit<EnginePoolOptions, "placesEach">>;

/** Several clamd as one pool; `check` tells whether each can be relied on. */
export function createClamdPool(
  addresses: readonly EngineAddress[],
  options: ClamdPoolOptions,
  { check, ...deps }: { check: CheckClamd; clock: Clock; log: Logger },
): ClamdPool {
  const all = { ...defaultOptions, ...options };
  const clients = addresses.map((address) => new ClamdEngine(address, all, check));
  return new EnginePool(clients, { ...options, placesEach: all.sessions * all.depth }, deps);
}

/**
 * One clamd: its sessions, and signs that it is unwell. A clamd that breaks a session, misses a
 * deadline or gives no sign of life is left out. A PONG does not prove that it is able; a missing
 * one proves that it is not.
 */
class ClamdEngine implements EngineClient<ScanInput, VirusFinding> {
  readonly name = "clamd";
  readonly #address: EngineAddress;
  readonly #options: ClamdOptions;
  readonly #check: CheckClamd;
  readonly #closing = new AbortController();
  /** Sessions that scans share, and sessions of one scan alone. */
  readonly #sessions = new Set<ClamdSession>();
  readonly #loneSessions = new Set<ClamdSession>();
  readonly #quiet: QuietWatch;
  #leaveOut: (why: Unable) => void = () => undefined;
  #isOut = false;

  constructor(address: EngineAddress, options: ClamdOptions, check: CheckClamd) {
    this.#address = address;
    this.#options = options;
    this.#check = check;
    this.#quiet = new QuietWatch(options.quietMs, () => this.#demandPong());
  }

  get address(): string {
    return this.#address.text;
  }

  watch(leaveOut: (why: Unable) => void): void {
    this.#leaveOut = leaveOut;
  }

  /** Scans in the session with the least to do; with `alone`, in one that no other scan enters. */
  async ask(
    input: ScanInput,
    { signal, timeoutMs, alone = false }: AskOptions & { alone?: boolean },
  ): Promise<Asked<VirusFinding>> {
    const refusal = this.#refusal(input);
    if (refusal !== undefined) return { kind: "answered", finding: refusal };
    const session = alone ? this.#open(this.#loneSessions) : this.#leastBusySession();
    using deadline = createDeadline(timeoutMs, signal);
    this.#quiet.begin();
    const outcome = await session.scan(input, deadline.signal);
    this.#quiet.end(outcome.kind === "answered");
    if (alone) session.destroy();
    switch (outcome.kind) {
      case "answered":
        return askedOf(findingOf(outcome.reply, nameOf(input)));
      case "broken": {
        const { reason, detail, died } = outcome;
        const isShared = !alone && { isShared: true as const };
        return { kind: "failed", reason, detail, ...(died && { lost: "died" }), ...isShared };
      }
      case "aborted": {
        const detail = "clamd did not answer within the deadline";
        if (!signal.aborted) this.#sayUnwell({ kind: "unable", reason: detail });
        const lost = outcome.wasSent && { lost: "time-out" as const };
        return { kind: "failed", reason: "time-out", detail, ...lost };
      }
    }
  }

  async putCanariesThrough({ signal, timeoutMs }: AskOptions): Promise<EngineState> {
    using deadline = createDeadline(timeoutMs, signal);
    const state = await this.#check(this.#address, deadline.signal);
    this.#isOut = state.kind === "unable";
    const isSilent = state.kind === "unable" && deadline.signal.aborted;
    return isSilent ? { ...state, silent: true } : state;
  }

  close(): void {
    this.#closing.abort();
    this.#quiet.close();
    for (const session of [...this.#sessions, ...this.#loneSessions]) session.destroy();
  }

  #refusal(input: ScanInput): VirusFinding | undefined {
    if (input.kind === "path") {
      if (isPathForClamd(input.path)) return undefined;
      return unchecked("engine-error", "not an absolute path that clamd could be given");
    }
    const { streamMaxBytes } = this.#options;
    if (input.bytes.length <= streamMaxBytes) return undefined;
    return unchecked("too-large", `${input.bytes.length} bytes; the limit is ${streamMaxBytes}`);
  }

  #sayUnwell(why: Unable): void {
    this.#isOut = true;
    this.#leaveOut(why);
  }

  /**
   * clamd answers PING while it scans, however long that takes. Scans under way keep their own
   * deadlines: they are answered after a reload.
   */
  async #demandPong(): Promise<void> {
    if (this.#isOut) return;
    const { pongMs } = this.#options;
    using deadline = createDeadline(pongMs, this.#closing.signal);
    try {
      await ping(this.#address, deadline.signal);
    } catch (error) {
      const isSilent = deadline.signal.aborted;
      const hint = isSilent ? ` within ${pongMs} ms: it hangs, or loads its signatures` : "";
      const reason = messageOf(error) + hint;
      this.#sayUnwell({ kind: "unable", reason, ...(isSilent && { silent: true }) });
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
    const session = new ClamdSession(this.#address, this.#options.session);
    kind.add(session);
    void session.ended.then((end) => {
      kind.delete(session);
      if (end.kind === "broken") this.#sayUnwell({ kind: "unable", reason: end.detail });
    });
    return session;
  }
}

/**
 * `… ERROR` is clamd's word that it could not scan. Its canaries tell whether the mail is to blame.
 */
function askedOf(finding: VirusFinding): Asked<VirusFinding> {
  if (finding.kind !== "unchecked" || finding.reason !== "engine-error") {
    return { kind: "answered", finding };
  }
  return { kind: "failed", reason: finding.reason, detail: finding.detail ?? "" };
}

/** Calls back when scans have been under way for this long without any answer. */
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
