/**
 * A bounded amount of something (bytes, transactions, turns) that many share (I7): first come, first
 * served. A request for more than there is at all is met when nobody else has any.
 */
export class Budget {
  #taken = 0;
  readonly #limit: number;
  readonly #waiting: { amount: number; grant: () => void }[] = [];

  constructor(limit: number) {
    this.#limit = limit;
  }

  /**
   * Waits until `amount` is there and returns the function that gives it back (once; further calls
   * do nothing), or undefined if `signal` aborted first.
   */
  async take(amount: number, signal?: AbortSignal): Promise<(() => void) | undefined> {
    if (signal?.aborted === true) return undefined;
    const now = this.takeNow(amount);
    if (now !== undefined) return now;
    return (await this.#turn(amount, signal)) ? this.#giver(amount) : undefined;
  }

  /** As `take`, but undefined if it would have to wait. */
  takeNow(amount: number): (() => void) | undefined {
    if (this.#waiting.length > 0 || !this.#fits(amount)) return undefined;
    this.#taken += amount;
    return this.#giver(amount);
  }

  #giver(amount: number): () => void {
    let given = false;
    return () => {
      if (given) return;
      given = true;
      this.#taken -= amount;
      this.#grantNext();
    };
  }

  #turn(amount: number, signal?: AbortSignal): Promise<boolean> {
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const waiter = {
      amount,
      grant: () => {
        signal?.removeEventListener("abort", onAbort);
        this.#taken += amount;
        resolve(true);
      },
    };
    const onAbort = () => {
      this.#waiting.splice(this.#waiting.indexOf(waiter), 1);
      resolve(false);
      this.#grantNext();
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#waiting.push(waiter);
    return promise;
  }

  #grantNext(): void {
    for (let next = this.#waiting[0]; next !== undefined; next = this.#waiting[0]) {
      if (!this.#fits(next.amount)) return;
      this.#waiting.shift();
      next.grant();
    }
  }

  #fits(amount: number): boolean {
    return this.#taken === 0 || this.#taken + amount <= this.#limit;
  }
}
