import type { TaskKind } from "@rs-agent/shared/mail/verdict.ts";

/**
 * For which tasks mail waits in the database because no worker had room for it. Later mail takes its
 * place there, behind what is older: in memory it would go past, for as long as more comes than goes.
 */
export class Backlogs {
  readonly #kinds = new Set<TaskKind>();

  has(kind: TaskKind): boolean {
    return this.#kinds.has(kind);
  }

  /** A mail has waited in vain and goes back to the database. */
  begin(kind: TaskKind): void {
    this.#kinds.add(kind);
  }

  /** A claim found this many where so many were wanted: fewer, and nothing older waits there. */
  claimed(kind: TaskKind, found: number, wanted: number): void {
    if (found < wanted) this.#kinds.delete(kind);
  }
}
