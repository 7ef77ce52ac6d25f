import type { Lane } from "@rs-agent/shared/mail/lane.ts";

/**
 * For which tasks mail waits in the database because no worker had room for it. Later mail takes its
 * place there, after what is older: in memory it would go past, for as long as more comes than goes.
 */
export class Backlogs {
  readonly #lanes = new Set<Lane>();

  has(lane: Lane): boolean {
    return this.#lanes.has(lane);
  }

  /** A mail has waited without success and goes back to the database. */
  begin(lane: Lane): void {
    this.#lanes.add(lane);
  }

  /** A claim found this many where this many were wanted: fewer, and nothing older waits there. */
  claimed(lane: Lane, found: number, wanted: number): void {
    if (found < wanted) this.#lanes.delete(lane);
  }
}
