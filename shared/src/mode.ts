import assert from "node:assert/strict";

/** From which modes each may be entered; the first one of a thing needs none. */
export type Entries<M extends string> = Readonly<Record<M, readonly M[]>>;

/**
 * Where a thing stands: in one of a few modes, of which each may be entered from some only. Whoever
 * wants another change has a bug.
 */
export class Mode<M extends string> {
  readonly #what: string;
  readonly #entries: Entries<M>;
  #now: M;

  constructor(what: string, entries: Entries<M>, first: NoInfer<M>) {
    this.#what = what;
    this.#entries = entries;
    this.#now = first;
  }

  get now(): M {
    return this.#now;
  }

  is(...modes: readonly M[]): boolean {
    return modes.includes(this.#now);
  }

  /** @throws AssertionError if it may not be entered from the one of now */
  enter(next: M): void {
    this.expect(this.#entries[next], `become ${next}`);
    this.#now = next;
  }

  /** @throws AssertionError if it is in none of these, in which alone it may do this */
  expect(modes: readonly M[], what: string): void {
    if (modes.includes(this.#now)) return;
    assert.fail(`${this.#what} is ${this.#now}, it cannot ${what}`);
  }
}
