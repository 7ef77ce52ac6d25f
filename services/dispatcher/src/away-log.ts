import type { WorkerSnapshot } from "@rs-agent/shared/bus/worker-pool.ts";
import type { Clock } from "@rs-agent/shared/clock.ts";
import type { Logger } from "@rs-agent/shared/logger.ts";
import { kindOf, engineOf, workerText, type Lane } from "@rs-agent/shared/mail/lane.ts";

/** Each lane is logged at most this often. */
const everyMs = 60_000;

/** Tells that mail waits for workers of which none is able, and what those that are there say. */
export class AwayLog {
  readonly #clock: Pick<Clock, "monotonicMs">;
  readonly #log: Logger;
  readonly #workers: () => readonly WorkerSnapshot[];
  readonly #toldMs = new Map<Lane, number>();

  constructor(
    clock: Pick<Clock, "monotonicMs">,
    log: Logger,
    workers: () => readonly WorkerSnapshot[],
  ) {
    this.#clock = clock;
    this.#log = log;
    this.#workers = workers;
  }

  tell(lane: Lane): void {
    const nowMs = this.#clock.monotonicMs();
    if (nowMs - (this.#toldMs.get(lane) ?? -Infinity) < everyMs) return;
    this.#toldMs.set(lane, nowMs);
    const task = kindOf(lane);
    const there = this.#workers()
      .filter(({ kind }) => kind === task)
      .map(({ id, state, unable, engine }) => `${id}: ${unable ?? engine?.name ?? state}`);
    const fields = { task, engine: engineOf(lane), workers: there.slice(0, 20) };
    this.#log.warn(fields, `mail waits: no ${workerText(lane)} is able`);
  }
}
