import { unchecked, type Engine, type UncheckedFinding } from "../checks/finding.ts";
import type { Clock } from "../clock.ts";
import { createDeadline, settledOrAborted } from "../deadline.ts";
import type { Logger } from "../logger.ts";
import type { Ability } from "../worker/handler.ts";
import type { EngineClient, EngineFailure, EngineState } from "./engine-client.ts";
import { PooledEngine, type PooledEngineOptions } from "./pooled-engine.ts";

export interface EnginePoolOptions extends PooledEngineOptions {
  /** How long a question waits for an engine to become able again before it is `engine-away`. */
  recoveryWaitMs: number;
}

const defaultOptions: Omit<EnginePoolOptions, "placesEach"> = {
  canaryTimeoutMs: 20_000,
  recheckMs: 250,
  recheckMaxMs: 5_000,
  recoveryWaitMs: 5_000,
};

/** How a pool is asked; `askOptionsOf` has it from a task. */
export interface PoolAskOptions {
  /** Aborts if nobody wants the answer any more: that is `time-out`, and nobody's fault. */
  signal: AbortSignal;
  /** Milliseconds for waiting and asking together. */
  timeoutMs: number;
  /** After a time-out, milliseconds in which the engine must say how it is for the mail to be suspected. */
  accountMs: number;
  /** It may have killed engines before: asked alone and, of an engine that it reaches, once. */
  suspect?: boolean;
}

/** A finding, with the engine that made it if one answered. */
export interface PoolAnswer<F> {
  finding: F | UncheckedFinding;
  engine?: Engine;
  /** What this engine is allowed not to see. */
  blind?: readonly string[];
  address?: string;
  /** Times that an engine died or did not answer while it had this mail; none if one answered. */
  strikes?: number;
}

type Tried<Q, F> = ReadonlySet<PooledEngine<Q, F>>;

/** A question that waits for a place. */
interface Waiting<Q, F> {
  tried: Tried<Q, F>;
  /** It still waits if no engine is able. */
  isPatient: boolean;
  resolve: (engine: PooledEngine<Q, F> | undefined) => void;
}

/** More questions than this in wait for a place are answered `busy` (I7). */
const maxWaiting = 1000;

/**
 * Several engines as one. Each question goes to the least busy of those whose canaries passed; one that
 * fails is left out until they pass again.
 *
 * 1. Nothing but an engine's whole answer is a finding (I2).
 * 2. A mail gets a strike only if an engine died with it in hand, or hung over it and is well otherwise. If
 *    others shared its fate it is asked once more, alone, and that counts for itself.
 * 3. An engine that was not reached has seen nothing of the mail: another gets it.
 */
export class EnginePool<Q, F> {
  readonly #engines: readonly PooledEngine<Q, F>[];
  readonly #options: EnginePoolOptions;
  readonly #clock: Clock;
  readonly #waiting = new Set<Waiting<Q, F>>();
  #closed = false;
  #wasAble = false;
  #grace: NodeJS.Timeout | undefined;

  constructor(
    clients: readonly EngineClient<Q, F>[],
    options: Pick<EnginePoolOptions, "placesEach"> & Partial<EnginePoolOptions>,
    { clock, log }: { clock: Clock; log: Logger },
  ) {
    this.#options = { ...defaultOptions, ...options };
    this.#clock = clock;
    const deps = { log, onChange: () => this.#onChange() };
    this.#engines = clients.map((client) => new PooledEngine(client, this.#options, deps));
  }

  /** Questions at once that the able engines take together. */
  concurrency(): number {
    return this.#engines.reduce((sum, engine) => sum + engine.places, 0);
  }

  /**
   * How many questions to bring at once. While all engines are out for less than `recoveryWaitMs`, as
   * after every broken connection, as many as one of them takes: they wait here for its return. For one
   * that is silent, and so out for longer, none.
   */
  grant(): number {
    return this.concurrency() || (this.#grace === undefined ? 0 : this.#options.placesEach);
  }

  /** Why each engine that is left out is so. */
  reasons(): string {
    return this.#engines
      .flatMap(({ address, state }) =>
        state.kind === "unable" ? [`${address}: ${state.reason}`] : [],
      )
      .join("; ");
  }

  /** Puts the canaries through every engine; at `signal` returns what is known. Never rejects. */
  async check(signal: AbortSignal): Promise<readonly EngineState[]> {
    await settledOrAborted(Promise.all(this.#engines.map((engine) => engine.look())), signal);
    return this.#engines.map(({ state }) => state);
  }

  /** The same for a worker: able while one engine is. */
  async canary(signal: AbortSignal): Promise<Ability> {
    const able = (await this.check(signal)).find((state) => state.kind === "able");
    if (able === undefined) return { able: false, reason: this.reasons() };
    const { engine, blind } = able;
    return { able: true, engine, ...(blind !== undefined && { blind }) };
  }

  /** Rejects only if a client throws, as for a question that cannot be asked. */
  async ask(question: Q, options: PoolAskOptions): Promise<PoolAnswer<F>> {
    const { signal, timeoutMs, suspect = false } = options;
    const endsAtMs = this.#clock.monotonicMs() + timeoutMs;
    const leftMs = () => Math.max(1, endsAtMs - this.#clock.monotonicMs());
    const tried = new Set<PooledEngine<Q, F>>();
    let story = "";
    let strikes = 0;
    for (;;) {
      const engine = this.#place(tried) ?? (await this.#placeLater(tried, leftMs(), signal));
      if (engine === undefined) return { finding: this.#noPlace(story), ...strikesOf(strikes) };
      const about = aboutOf(engine);
      const alone = suspect || story !== "";
      const asked = await engine.ask(question, { signal, timeoutMs: leftMs(), alone });
      if (asked.kind === "answered") return { finding: asked.finding, ...about };
      const finding = unchecked(asked.reason, story + asked.detail);
      if (signal.aborted) return { finding, ...about };
      engine.doubt(asked);
      const next = tried.size < this.#engines.length ? nextAfter(asked, alone) : "nothing";
      if (next === "nothing") {
        if (await isStrike(asked, engine, options)) strikes += 1;
        return { finding, ...about, ...strikesOf(strikes) };
      }
      tried.add(engine);
      if (next === "elsewhere") continue;
      if (asked.lost === "died") strikes += 1;
      story = `${asked.detail}; tried again alone: `;
    }
  }

  /** Asks every able engine, each beside its other work; the findings in no order. */
  async askEach(question: Q, signal: AbortSignal): Promise<readonly (F | UncheckedFinding)[]> {
    const timeoutMs = this.#options.canaryTimeoutMs;
    const able = this.#engines.filter(({ state }) => state.kind === "able");
    return Promise.all(
      able.map(async (engine) => {
        engine.take();
        const asked = await engine.ask(question, { signal, timeoutMs, alone: true });
        return asked.kind === "answered" ? asked.finding : unchecked(asked.reason, asked.detail);
      }),
    );
  }

  close(): void {
    this.#closed = true;
    this.#endGrace();
    for (const engine of this.#engines) engine.close();
    this.#serve();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** A place at the able engine with the least to do; at one that was not tried, if there is one. */
  #place(tried: Tried<Q, F>): PooledEngine<Q, F> | undefined {
    const free = this.#engines.filter((engine) => engine.free > 0);
    const others = free.filter((engine) => !tried.has(engine));
    const [first, ...rest] = others.length > 0 ? others : free;
    const engine = rest.reduce((best, one) => (one.free > (best?.free ?? 0) ? one : best), first);
    engine?.take();
    return engine;
  }

  /** Waits for one: until the time is over if all are taken, for a while if no engine is able. */
  async #placeLater(
    tried: Tried<Q, F>,
    leftMs: number,
    signal: AbortSignal,
  ): Promise<PooledEngine<Q, F> | undefined> {
    if (this.#waiting.size >= maxWaiting || this.#closed || signal.aborted) return undefined;
    const { promise, resolve } = Promise.withResolvers<PooledEngine<Q, F> | undefined>();
    const waiting = { tried, resolve, isPatient: true };
    const patience = setTimeout(() => {
      waiting.isPatient = false;
      this.#serve();
    }, this.#options.recoveryWaitMs);
    using deadline = createDeadline(leftMs, signal);
    deadline.signal.addEventListener("abort", () => this.#end(waiting, undefined), { once: true });
    this.#waiting.add(waiting);
    const engine = await promise;
    clearTimeout(patience);
    return engine;
  }

  /** Gives places to those that wait, the first one first. */
  #serve(): void {
    const isAble = this.concurrency() > 0;
    for (const waiting of this.#waiting) {
      const engine = this.#place(waiting.tried);
      if (engine === undefined && isAble) return;
      if (engine !== undefined || !waiting.isPatient || this.#closed) this.#end(waiting, engine);
    }
  }

  /** From here on nobody else gives it a place, which would then be lost. */
  #end(waiting: Waiting<Q, F>, engine: PooledEngine<Q, F> | undefined): void {
    this.#waiting.delete(waiting);
    waiting.resolve(engine);
  }

  #noPlace(story: string): UncheckedFinding {
    if (this.concurrency() === 0) return unchecked("engine-away", story + this.reasons());
    return unchecked("busy", `${story}no place at an engine within the deadline`);
  }

  #onChange(): void {
    const isAble = this.concurrency() > 0;
    if (isAble) this.#endGrace();
    else if (this.#wasAble && !this.#closed && this.#engines.some(returnsSoon)) {
      this.#grace = setTimeout(() => this.#endGrace(), this.#options.recoveryWaitMs);
    }
    this.#wasAble = isAble;
    this.#serve();
  }

  #endGrace(): void {
    clearTimeout(this.#grace);
    this.#grace = undefined;
  }
}

function returnsSoon({ state }: { state: EngineState }): boolean {
  return state.kind === "unable" && state.silent !== true;
}

/** Who is asked, as it is known when the question goes out. */
function aboutOf({ state, address }: { state: EngineState; address: string }) {
  if (state.kind === "unable") return { address };
  const { engine, blind } = state;
  return { address, engine, ...(blind !== undefined && { blind }) };
}

function nextAfter(failure: EngineFailure, alone: boolean): "alone" | "elsewhere" | "nothing" {
  const { reason, lost, isShared = false } = failure;
  if (isShared && !alone) return "alone";
  return reason === "engine-away" && lost === undefined ? "elsewhere" : "nothing";
}

/** Whether the engine died over the mail, or hung: one that is well itself, or gone, after the time was over. */
async function isStrike<Q, F>(
  { lost }: EngineFailure,
  engine: PooledEngine<Q, F>,
  { accountMs, signal }: PoolAskOptions,
): Promise<boolean> {
  return lost === "time-out" ? engine.givesAccount(accountMs, signal) : lost === "died";
}

function strikesOf(strikes: number): { strikes?: number } {
  return strikes === 0 ? {} : { strikes };
}
