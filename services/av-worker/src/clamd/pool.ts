import { createDeadline, settledOrAborted } from "@rs-agent/shared/deadline.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { Engine, UncheckedReason } from "@rs-agent/shared/checks/finding.ts";
import type { VirusFinding } from "@rs-agent/shared/checks/virus.ts";
import type { ClamdAddress } from "./address.ts";
import { ClamdEngine, type CheckEngine, type EngineOptions, type EngineState } from "./engine.ts";
import { isPathForClamd, type ScanInput } from "./frames.ts";
import { findingOf, nameOf, unchecked } from "./replies.ts";
import { defaultSessionLimits, type SessionOutcome } from "./session.ts";

export interface PoolOptions extends EngineOptions {
  /** clamd's StreamMaxLength: what is larger is `unchecked: too-large` and never sent. */
  streamMaxBytes: number;
  /** How long a scan waits for an address to become able again before it is `engine-away`. */
  recoveryWaitMs: number;
  /** After a time-out: a clamd that says in this time how it is was not merely slow with the mail. */
  accountMs: number;
}

export const defaultPoolOptions: PoolOptions = {
  sessions: 2,
  depth: 4,
  checkTimeoutMs: 20_000,
  recheckMs: 250,
  recheckMaxMs: 5_000,
  quietMs: 3_000,
  pongMs: 5_000,
  session: defaultSessionLimits,
  streamMaxBytes: 25 * 1024 * 1024,
  recoveryWaitMs: 5_000,
  accountMs: 10_000,
};

/** A finding with the clamd that made it, if one answered. */
export interface Scanned {
  finding: VirusFinding;
  engine?: Engine;
  /** What this clamd was allowed to answer `OK` to unseen. */
  blind: readonly string[];
  address?: string;
  /** Times that a clamd died or did not answer while it had this mail; none if one answered. */
  strikes?: number;
}

/** More scans than this in wait for a place are answered `busy` (I7). */
const maxWaiting = 1000;

type Attempt =
  | { kind: "tried"; outcome: SessionOutcome; engine: ClamdEngine; state: EngineState }
  | { kind: "unplaced"; finding: VirusFinding };

type Place =
  | { kind: "place"; engine: ClamdEngine; release: () => void }
  | { kind: "none"; finding: VirusFinding };

/**
 * Several clamd as one: each scan goes to the able one with the least load, and one that breaks is
 * left out until it passes its check. A scan whose session broke is tried once more, alone in a
 * session of its own, so that only what befalls it there is laid to its charge.
 */
export class ClamdPool {
  readonly #engines: readonly ClamdEngine[];
  readonly #options: PoolOptions;
  #waiting = 0;
  #closed = false;
  #wasAble = false;
  #grace: NodeJS.Timeout | undefined;
  #changed = Promise.withResolvers<undefined>();

  constructor(
    addresses: readonly ClamdAddress[],
    options: PoolOptions,
    deps: { check: CheckEngine; log: Logger },
  ) {
    this.#options = options;
    const onChange = () => {
      this.#followGrace();
      this.#announceChange();
    };
    this.#engines = addresses.map((to) => new ClamdEngine(to, options, { ...deps, onChange }));
  }

  get engines(): readonly { address: ClamdAddress; state: EngineState }[] {
    return this.#engines;
  }

  /** Scans at once that the able addresses take together. */
  concurrency(): number {
    return this.#engines.reduce((sum, engine) => sum + engine.capacity, 0);
  }

  /**
   * How many scans to bring at once. While all addresses are out for less than `recoveryWaitMs`,
   * as after every broken session, as many as one of them takes: they wait here for its return. For
   * one that is silent, and so out for longer, none.
   */
  grant(): number {
    const { sessions, depth } = this.#options;
    return this.concurrency() || (this.#grace === undefined ? 0 : sessions * depth);
  }

  /** Why each address that is left out is so. */
  reasons(): string {
    return this.#engines
      .flatMap(({ address, state }) =>
        state.kind === "unable" ? [`${address.text}: ${state.reason}`] : [],
      )
      .join("; ");
  }

  /** Checks every address now; at `signal` returns what is known. Never rejects. */
  async check(signal: AbortSignal): Promise<readonly EngineState[]> {
    await settledOrAborted(Promise.all(this.#engines.map((engine) => engine.check())), signal);
    return this.#engines.map((engine) => engine.state);
  }

  /**
   * Scans bytes or, by path, a file that every clamd of this pool sees. Never rejects, never
   * outlives `signal`, which is the deadline over waiting, sending and clamd's work: then the
   * finding is `unchecked: time-out`. A suspect is tried once only: each try may cost a clamd.
   */
  async scan(
    input: ScanInput,
    signal: AbortSignal,
    { suspect = false }: { suspect?: boolean } = {},
  ): Promise<Scanned> {
    const refusal = this.#refusal(input);
    if (refusal !== undefined) return { finding: refusal, blind: [] };
    const first = await this.#attempt(input, signal, { alone: suspect });
    if (suspect || first.kind === "unplaced" || first.outcome.kind !== "broken") {
      return withStrikes(conclude(first, input), (await this.#isStrike(first)) ? 1 : 0);
    }
    const second = await this.#attempt(input, signal, { alone: true, avoid: first.engine });
    const strikes = (first.outcome.died ? 1 : 0) + ((await this.#isStrike(second)) ? 1 : 0);
    return withStrikes(withHistory(conclude(second, input), first.outcome.detail), strikes);
  }

  /** Scans on every able address, each beside its other work; the findings in no order. */
  async scanOnEach(input: ScanInput, signal: AbortSignal): Promise<readonly VirusFinding[]> {
    const able = this.#engines.filter(({ state }) => state.kind === "able");
    return Promise.all(
      able.map(async (engine) =>
        findingFrom(await engine.scan(input, signal, { alone: true }), input),
      ),
    );
  }

  close(): void {
    this.#closed = true;
    this.#endGrace();
    for (const engine of this.#engines) engine.close();
    this.#announceChange();
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

  /**
   * Whether clamd died over the mail, or hung: a clamd that is well itself, or gone, after the mail's
   * time was over. One that is only slow, or stopped, does not say so soon.
   */
  async #isStrike(attempt: Attempt): Promise<boolean> {
    if (attempt.kind === "unplaced") return false;
    const { outcome, engine } = attempt;
    if (outcome.kind === "broken") return outcome.died;
    if (outcome.kind === "answered" || !outcome.wasSent) return false;
    const account = createDeadline(this.#options.accountMs);
    await settledOrAborted(engine.check(), account.signal);
    account.end();
    return !account.signal.aborted;
  }

  async #attempt(
    input: ScanInput,
    signal: AbortSignal,
    how: { alone: boolean; avoid?: ClamdEngine },
  ): Promise<Attempt> {
    const place = this.#placeNow(how.avoid) ?? (await this.#placeLater(signal, how.avoid));
    if (place.kind === "none") return { kind: "unplaced", finding: place.finding };
    const { engine, release } = place;
    const { state } = engine;
    const outcome = await engine.scan(input, signal, how);
    release();
    return { kind: "tried", outcome, engine, state };
  }

  /** A place at the able engine with the least load; another than `avoid` if there is one. */
  #placeNow(avoid: ClamdEngine | undefined): Place | undefined {
    const engine = this.#leastLoaded(avoid);
    return engine === undefined ? undefined : { kind: "place", engine, release: engine.reserve() };
  }

  async #placeLater(signal: AbortSignal, avoid: ClamdEngine | undefined): Promise<Place> {
    const patience = createPatience(this.#options.recoveryWaitMs, () => this.#announceChange());
    this.#waiting++;
    try {
      for (;;) {
        const place = this.#placeNow(avoid);
        if (place !== undefined) return place;
        const isFull = this.concurrency() > 0;
        const isOver = signal.aborted || this.#closed || (!isFull && patience.isOver());
        if (isOver || this.#waiting > maxWaiting) return { kind: "none", finding: this.#noPlace() };
        await settledOrAborted(this.#changed.promise, signal);
      }
    } finally {
      this.#waiting--;
      patience.end();
    }
  }

  #leastLoaded(avoid: ClamdEngine | undefined): ClamdEngine | undefined {
    const free = this.#engines.filter((engine) => engine.free > 0);
    const others = free.filter((engine) => engine !== avoid);
    const candidates = others.length > 0 ? others : free;
    return candidates.reduce<ClamdEngine | undefined>(
      (best, engine) => (best === undefined || engine.free > best.free ? engine : best),
      undefined,
    );
  }

  #noPlace(): VirusFinding {
    if (this.concurrency() > 0) return unchecked("busy", "no place at clamd within the deadline");
    return unchecked("engine-away", this.reasons());
  }

  #followGrace(): void {
    const isAble = this.concurrency() > 0;
    if (isAble) this.#endGrace();
    else if (this.#wasAble && !this.#closed && this.#engines.some(returnsSoon)) {
      this.#grace = setTimeout(() => this.#endGrace(), this.#options.recoveryWaitMs);
    }
    this.#wasAble = isAble;
  }

  #endGrace(): void {
    clearTimeout(this.#grace);
    this.#grace = undefined;
  }

  #announceChange(): void {
    this.#changed.resolve(undefined);
    this.#changed = Promise.withResolvers<undefined>();
  }
}

function returnsSoon({ state }: ClamdEngine): boolean {
  return state.kind === "unable" && state.silent !== true;
}

function conclude(attempt: Attempt, input: ScanInput): Scanned {
  if (attempt.kind === "unplaced") return { finding: attempt.finding, blind: [] };
  const { outcome, engine, state } = attempt;
  const finding = findingFrom(outcome, input);
  if (finding.kind === "unchecked" && isEnginesFault(finding.reason)) {
    engine.suspect(finding.detail ?? finding.reason);
  }
  const about =
    state.kind === "able" ? { engine: state.engine, blind: state.blind } : { blind: [] };
  return { finding, ...about, address: engine.address.text };
}

/** What went wrong at the first try belongs to the story of a scan that failed twice. */
function withHistory(scanned: Scanned, firstDetail: string): Scanned {
  const { finding } = scanned;
  if (finding.kind !== "unchecked" || !isEnginesFault(finding.reason)) return scanned;
  const detail = `${firstDetail}; tried again alone: ${finding.detail ?? finding.reason}`;
  return { ...scanned, finding: unchecked(finding.reason, detail) };
}

/** A mail that got an answer in the end killed nobody. */
function withStrikes(scanned: Scanned, strikes: number): Scanned {
  const { finding } = scanned;
  const isAnswered = finding.kind !== "unchecked" || !isEnginesFault(finding.reason);
  return isAnswered || strikes === 0 ? scanned : { ...scanned, strikes };
}

function findingFrom(outcome: SessionOutcome, input: ScanInput): VirusFinding {
  switch (outcome.kind) {
    case "answered":
      return findingOf(outcome.reply, nameOf(input));
    case "broken":
      return unchecked(outcome.reason, outcome.detail);
    case "aborted":
      return unchecked("time-out", "clamd did not answer within the deadline");
  }
}

function isEnginesFault(reason: UncheckedReason): boolean {
  return reason === "engine-error" || reason === "engine-away" || reason === "time-out";
}

/** A timer that says, at its end and ever after, that it is over. */
function createPatience(ms: number, onOver: () => void): { isOver(): boolean; end(): void } {
  let over = false;
  const timer = setTimeout(() => {
    over = true;
    onOver();
  }, ms);
  return { isOver: () => over, end: () => clearTimeout(timer) };
}
