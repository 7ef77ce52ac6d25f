/** The clockwork of the bus. Both sides must agree; tests run it faster. All in milliseconds. */
export interface BusTiming {
  /** Between two heartbeats. */
  heartbeatMs: number;
  /** Silence after which a worker gets no new task, and a worker says `ready` again. */
  silentMs: number;
  /** Silence after which a session ends and its tasks go to others. */
  deadMs: number;
  /** Between two looks at the deadlines of tasks. */
  sweepMs: number;
  /** How much longer than its deadline the dispatcher waits for a task's answer. */
  graceMs: number;
  /** Between two resolutions of the dispatchers' names. */
  resolveMs: number;
  /** A worker with a given-up task that does not end within this time takes nothing new, and ends. */
  stuckMs: number;
}

export const busTiming: BusTiming = {
  heartbeatMs: 1_000,
  silentMs: 3_000,
  deadMs: 10_000,
  sweepMs: 250,
  graceMs: 1_000,
  resolveMs: 5_000,
  stuckMs: 60_000,
};
