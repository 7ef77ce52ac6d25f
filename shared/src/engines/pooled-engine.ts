import { isTransient } from "../checks/finding.ts";
import { createDeadline, settledOrAborted } from "../deadline.ts";
import type { Logger } from "../logger.ts";
import type {
  Asked,
  AskOptions,
  EngineClient,
  EngineFailure,
  EngineState,
  Unable,
} from "./engine-client.ts";

export interface PooledEngineOptions {
  /** Questions at once to each engine. */
  placesEach: number;
  /** Milliseconds for one canary. */
  canaryTimeoutMs: number;
  /** Time until an engine that is unable is looked at again; doubled up to `recheckMaxMs`. */
  recheckMs: number;
  recheckMaxMs: number;
}

/**
 * One engine of a pool: its load, and whether it is able. Its canaries alone make it able. It is left
 * out from the moment that it dies, is not reached or is called unwell, until canaries that started
 * after that have passed: what it does in between is not the next question's doing.
 */
export class PooledEngine<Q, F> {
  readonly #client: EngineClient<Q, F>;
  readonly #options: PooledEngineOptions;
  readonly #log: Logger;
  readonly #onChange: () => void;
  readonly #closing = new AbortController();
  #state: EngineState = { kind: "unable", reason: "not asked yet" };
  #asked = 0;
  /** How often it was left out, or was to be. */
  #alarms = 0;
  #failedLooks = 0;
  #looking: Promise<EngineState> | undefined;
  #nextLook: NodeJS.Timeout | undefined;

  constructor(
    client: EngineClient<Q, F>,
    options: PooledEngineOptions,
    deps: { log: Logger; onChange: () => void },
  ) {
    this.#client = client;
    this.#options = options;
    this.#log = deps.log;
    this.#onChange = deps.onChange;
    client.watch?.((why) => this.#leaveOut(why));
  }

  get state(): EngineState {
    return this.#state;
  }

  get address(): string {
    return this.#client.address;
  }

  get places(): number {
    return this.#state.kind === "able" ? this.#options.placesEach : 0;
  }

  get free(): number {
    return Math.max(0, this.places - this.#asked);
  }

  /** Takes a place, which the `ask` that follows gives back. */
  take(): void {
    this.#asked += 1;
  }

  async ask(question: Q, options: AskOptions & { alone: boolean }): Promise<Asked<F>> {
    try {
      return await this.#client.ask(question, options);
    } catch (error) {
      if (!options.signal.aborted) throw error;
      return { kind: "failed", reason: "time-out", detail: "given up before there was an answer" };
    } finally {
      this.#asked -= 1;
      this.#onChange();
    }
  }

  /** After a failure: left out if it went away; else its canaries, which start immediately, decide. */
  doubt({ reason, detail, lost }: EngineFailure): void {
    if (lost === "died" || reason === "engine-away") {
      this.#leaveOut({ kind: "unable", reason: detail });
    } else if (isTransient(reason)) void this.look();
  }

  /** Puts the canaries through it now, or joins those that are under way. */
  look(): Promise<EngineState> {
    this.#looking ??= this.#look().finally(() => (this.#looking = undefined));
    return this.#looking;
  }

  /** Whether it says in this time how it is: so does one that is well or gone, not one that is slow. */
  async givesAccount(withinMs: number, signal: AbortSignal): Promise<boolean> {
    if (withinMs < 1) return false;
    using deadline = createDeadline(withinMs, signal);
    await settledOrAborted(this.look(), deadline.signal);
    const isSilent = this.#state.kind === "unable" && this.#state.silent === true;
    return !deadline.signal.aborted && !this.#closing.signal.aborted && !isSilent;
  }

  close(): void {
    this.#closing.abort();
    clearTimeout(this.#nextLook);
    this.#client.close();
    this.#state = { kind: "unable", reason: "closed" };
  }

  #leaveOut(why: Unable): void {
    this.#alarms += 1;
    if (this.#state.kind === "unable" || this.#closing.signal.aborted) return;
    this.#become(why);
    this.#lookIn(0);
  }

  async #look(): Promise<EngineState> {
    clearTimeout(this.#nextLook);
    const alarmsBefore = this.#alarms;
    const found = await this.#putCanariesThrough();
    if (this.#closing.signal.aborted) return this.#state;
    if (found.kind === "able" && this.#alarms !== alarmsBefore) {
      // They may have passed before it fell.
      this.#lookIn(0);
      return this.#state;
    }
    this.#become(found);
    this.#failedLooks = found.kind === "able" ? 0 : this.#failedLooks + 1;
    if (found.kind === "unable") this.#lookIn(this.#delayMs());
    return found;
  }

  async #putCanariesThrough(): Promise<EngineState> {
    const { signal } = this.#closing;
    try {
      const timeoutMs = this.#options.canaryTimeoutMs;
      return await this.#client.putCanariesThrough({ signal, timeoutMs });
    } catch (error) {
      if (!signal.aborted) throw error;
      return this.#state;
    }
  }

  #delayMs(): number {
    const { recheckMs, recheckMaxMs } = this.#options;
    return Math.min(recheckMaxMs, recheckMs * 2 ** Math.min(this.#failedLooks - 1, 20));
  }

  #lookIn(delayMs: number): void {
    clearTimeout(this.#nextLook);
    this.#nextLook = setTimeout(() => void this.look(), delayMs);
  }

  #become(state: EngineState): void {
    const before = this.#state;
    this.#state = state;
    const { name, address } = this.#client;
    if (state.kind === "able" && before.kind === "unable") {
      const { engine, blind } = state;
      this.#log.info({ address, engine, blind }, `${name} is able`);
    } else if (state.kind === "unable" && !isSame(before, state)) {
      this.#log.warn({ address, reason: state.reason }, `${name} is left out`);
    }
    this.#onChange();
  }
}

function isSame(before: EngineState, now: Unable): boolean {
  return before.kind === "unable" && before.reason === now.reason;
}
