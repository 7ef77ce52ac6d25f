import type { Claim } from "./mails.ts";

/** This many mails are known by name; of more it is known that they wait. */
const namesAtMost = 100;

/**
 * What one claimer has reason to believe in: mail that waits and that hints have named, or any. It is asked
 * before each claim, so that nobody looks for mail for no reason.
 */
export class ExpectedMail {
  #any = false;
  readonly #named = new Set<string>();

  get isNone(): boolean {
    return !this.#any && this.#named.size === 0;
  }

  /** This mail waits; or some does, or may. */
  expect(mailId?: string): void {
    if (mailId !== undefined && this.#named.size < namesAtMost) this.#named.add(mailId);
    else this.#any = true;
  }

  /**
   * What to claim if there is room for so many, which is expected no longer. Only the named, if nothing else is
   * expected and there is room for all: otherwise the oldest have it.
   */
  take(room: number): Pick<Claim, "limit" | "only"> {
    const named = [...this.#named];
    const isAny = this.#any || named.length > room;
    this.#any = false;
    this.#named.clear();
    return isAny ? { limit: room } : { limit: named.length, only: named };
  }
}
