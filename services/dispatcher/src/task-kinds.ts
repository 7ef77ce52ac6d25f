import type { OwnCheck } from "@rs-agent/shared/checks/own-check.ts";
import { builtInTasks, type TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import { lanesOf, type Lane } from "@rs-agent/shared/mail/lane.ts";

/**
 * The kinds of task that there are: those built in, and the checks that policies have brought. None is
 * forgotten: mail that was planned with it may still wait.
 */
export class TaskKinds {
  #own: readonly OwnCheck[] = [];

  get own(): readonly OwnCheck[] {
    return this.#own;
  }

  get all(): readonly TaskKind[] {
    return [...builtInTasks, ...this.#own];
  }

  get lanes(): readonly Lane[] {
    return this.all.flatMap(lanesOf);
  }

  learn(names: readonly OwnCheck[]): void {
    this.#own = [...new Set([...this.#own, ...names])].sort();
  }
}
