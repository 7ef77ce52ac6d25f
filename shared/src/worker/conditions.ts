/** Who waits for something to come true, looked at whenever something ends. */
export class Conditions {
  readonly #ended: AbortSignal;
  readonly #waiting = new Set<() => void>();

  /** When `ended` aborts nobody waits any more. */
  constructor(ended: AbortSignal) {
    this.#ended = ended;
  }

  /** Something has ended: the conditions may hold now. */
  wake(): void {
    for (const look of [...this.#waiting]) look();
  }

  /** Settles when the condition holds, or the signal aborts. */
  async until(condition: () => boolean, signal: AbortSignal | undefined): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<undefined>();
    const look = () => {
      const over = this.#ended.aborted || signal?.aborted === true;
      if (over || condition()) resolve(undefined);
    };
    this.#waiting.add(look);
    signal?.addEventListener("abort", look, { once: true });
    look();
    await promise;
    this.#waiting.delete(look);
    signal?.removeEventListener("abort", look);
  }
}
