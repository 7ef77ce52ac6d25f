import type { Engine } from "../checks/finding.ts";
import type { TaskKind, Verdicts } from "../checks/verdict.ts";
import type { SmtpEnvelope } from "../mail/smtp-envelope.ts";
import type { TaskSettings } from "../mail/task-settings.ts";
import type { AnsweredHead } from "./wire.ts";

/** A task as the dispatcher asks for it; the pool adds session, task id and sequence. */
export interface TaskToPlace {
  mailId: string;
  /** 1-based. */
  attempt: number;
  /** SHA-256 (hex) and bytes of the raw mail. */
  sha256: string;
  size: number;
  settings: TaskSettings;
  /** `settingsHashOf(settings)`. */
  settingsHash: string;
  /** Milliseconds from the worker's receipt within which it must have answered. */
  deadlineMs: number;
  smtp: SmtpEnvelope;
  /** For `enrich`. */
  verdicts?: Verdicts | undefined;
  /** For `enrich`: what the verdicts amount to under the mail's policy. */
  disposition?: "deliver" | "tag" | undefined;
  traceparent?: string | undefined;
  /** The worker ends what it has in hand before it begins this, and gets nothing else beside it. */
  alone?: boolean | undefined;
}

/** How the mail goes: its bytes, or a file of a spool that the worker has proven to see. */
export type MailToPlace = Buffer | { spool: { id: string; path: string } };

/** What a worker found, checked against what was asked (I4) and against the schema. */
export interface TaskResult {
  taskId: string;
  workerId: string;
  kind: TaskKind;
  task: TaskToPlace;
  head: AnsweredHead;
  /** The second frame of an `enriched` result. */
  bytes: Buffer | undefined;
  /** The result's own engine, or what the worker last announced. */
  engine: Engine | undefined;
  /** `clock.monotonicMs()` when the task was given to the socket. */
  sentAtMs: number;
}

/**
 * Why a task came back without an answer. `disconnect`, `silent`: the worker is gone. `bye`: it left
 * without finishing. `replaced`: it began a new session. `deadline`: no answer in time. `failed`:
 * the worker says that it could not work on it (`failure`). `uncertain`: the worker has
 * passed it by, its task or result frame was lost or dropped. `revoked`: its key is no longer listed.
 */
export type LostReason =
  "disconnect" | "silent" | "bye" | "replaced" | "deadline" | "failed" | "uncertain" | "revoked";

/** A task that nobody will answer any more; it may be placed again immediately. */
export interface LostTask {
  taskId: string;
  mailId: string;
  workerId: string;
  kind: TaskKind;
  task: TaskToPlace;
  reason: LostReason;
  /** Work on it had begun: only then can it be a strike against the mail. */
  started: boolean;
  /** What the worker said, with `failed` and sometimes with `deadline`. */
  failure?: { code: string; detail: string };
}

/** A task that is out, as its session keeps it. */
export interface Outstanding {
  taskId: string;
  sequence: number;
  kind: TaskKind;
  task: TaskToPlace;
  /** Bytes that count against credit: 0 in disk mode. */
  bytes: number;
  sentAtMs: number;
  /** Monotonic; the worker's deadline and the grace after it. */
  giveUpAtMs: number;
  /** Already lost to the dispatcher, but still in the worker's hands, so it still counts. */
  givenUp: boolean;
}

/** What a task's head says of it, beside session, ids and kind. */
export function wordsOf(task: TaskToPlace, mail: MailToPlace) {
  return {
    mailId: task.mailId,
    attempt: task.attempt,
    sha256: task.sha256,
    size: task.size,
    settingsHash: task.settingsHash,
    deadlineMs: task.deadlineMs,
    smtp: task.smtp,
    settings: task.settings,
    ...(Buffer.isBuffer(mail) ? { bytes: mail.length } : { spool: mail.spool }),
    ...(task.verdicts === undefined ? {} : { verdicts: task.verdicts }),
    ...(task.disposition === undefined ? {} : { disposition: task.disposition }),
    ...(task.traceparent === undefined ? {} : { traceparent: task.traceparent }),
    ...(task.alone === true ? { alone: true } : {}),
  };
}
