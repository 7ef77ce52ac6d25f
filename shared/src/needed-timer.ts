export interface NeededTimerOptions {
  everyMs: number;
  run: () => void;
  /** There is something to look at still. */
  isNeeded: () => boolean;
}

/** Runs something again and again while there is something to look at: an idle service is not woken for nothing. */
export class NeededTimer {
  readonly #options: NeededTimerOptions;
  #timer: NodeJS.Timeout | undefined;
  #closed = false;

  constructor(options: NeededTimerOptions) {
    this.#options = options;
  }

  /** There is something to look at from now on. Cheap. */
  need(): void {
    if (this.#closed) return;
    this.#timer ??= setInterval(() => this.#run(), this.#options.everyMs);
  }

  close(): void {
    this.#closed = true;
    this.#stop();
  }

  #run(): void {
    this.#options.run();
    if (!this.#options.isNeeded()) this.#stop();
  }

  #stop(): void {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
