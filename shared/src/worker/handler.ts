import type { EnrichOutput, TaskHead } from "../bus/wire.ts";
import type { Logger } from "../logger.ts";
import type { Engine } from "../checks/finding.ts";
import type { Finding, TaskKind } from "../checks/verdict.ts";

/** The raw mail of a task: bytes from the second frame, or a file of the spool (disk mode). */
export type TaskMail =
  { kind: "bytes"; bytes: Buffer } | { kind: "file"; path: string; size: number };

/** What a handler returns; `bytes` becomes the result's second frame (enricher only). */
export type TaskOutput =
  | {
      output: Finding;
      blind?: readonly string[];
      engine?: Engine;
      /** Times that the engine died or did not answer while it had this mail (poison lane). */
      strikes?: number;
    }
  | { output: EnrichOutput; bytes?: Buffer };

/** The worker's word on whether it can do its work. */
export type Ability =
  { able: true; engine?: Engine; blind?: readonly string[] } | { able: false; reason: string };

/** What a handler may use beside the task itself. */
export interface TaskContext {
  readonly signal: AbortSignal;
  readonly log: Logger;
  /**
   * To be awaited before synchronous work of more than a second: tells the dispatchers that silence
   * for this many milliseconds (a minute at most) is not death. Absent outside of a worker.
   */
  readonly announceBusy?: (ms: number) => Promise<void>;
}

/**
 * What a worker type has to bring: everything else (mailbox, sessions, credit, heartbeats, drain)
 * is `startWorker`'s. See CONTRIBUTING, "Add a check".
 */
export interface TaskHandler {
  readonly kind: TaskKind;
  /** The most tasks worked on at the same time: the engine's own parallelism. Read again before each grant. */
  concurrency(): number;
  /** Why `concurrency` is 0 just now, if the last canaries do not say it. */
  whyNone?(): string;
  /**
   * Works on one task. An engine's failure is a value (`unchecked`), not an exception; what is
   * thrown becomes a `failed` result. `signal` aborts at the deadline, at `cancel` and at close.
   */
  handle(task: TaskHead, mail: TaskMail, context: TaskContext): Promise<TaskOutput>;
  /** Puts the canaries through the engine. Called before the first `ready` and on a timer. */
  canary(signal: AbortSignal): Promise<Ability>;
  /** Disk mode: true if handler and engine read this file's bytes (the spool's canary). */
  seesFile?(path: string, signal: AbortSignal): Promise<boolean>;
  close(): Promise<void>;
}
