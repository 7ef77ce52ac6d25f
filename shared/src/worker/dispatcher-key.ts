import type { BusKeys } from "../bus/bus-keys.ts";

/**
 * Which of the keys that are listed for `dispatcher` one dispatcher holds, found out by trying: CURVE
 * wants the other side's key before the first byte. All dispatchers behind one name may share a key;
 * while keys are exchanged, or with one for each, there are several.
 */
export class DispatcherKey {
  readonly #keys: BusKeys;
  #current: string | undefined;
  #tried = 0;

  constructor(keys: BusKeys) {
    this.#keys = keys;
  }

  /** The key to try now; undefined: none is listed. */
  get current(): string | undefined {
    return this.#current;
  }

  /** Begins a round of tries with the key that was right last. */
  begin(): void {
    this.#tried = 0;
    const listed = this.#listed();
    if (!listed.includes(this.#current ?? "")) this.#current = listed[0];
  }

  /** The dispatcher is not the holder of the current one. False: all were tried in this round. */
  next(): boolean {
    const listed = this.#listed();
    this.#tried += 1;
    this.#current = listed[(listed.indexOf(this.#current ?? "") + 1) % listed.length];
    return this.#tried < listed.length;
  }

  /** False: it was taken off the list. */
  get isListed(): boolean {
    return this.#listed().includes(this.#current ?? "");
  }

  #listed(): string[] {
    return this.#keys.list.keysOf("dispatcher");
  }
}
