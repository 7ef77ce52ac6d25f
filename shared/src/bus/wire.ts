import { z } from "zod";
import { enrichSettingsSchema } from "../mail/task-settings.ts";
import { engineSchema } from "../checks/finding.ts";
import { ownCheckSchema, ownFindingSchema, ownSettingsSchema } from "../checks/own-check.ts";
import {
  ofEach,
  taskKindSchema,
  verdictsSchema,
  type CheckKind,
  type FindingOf,
  type SettingsOf,
} from "../checks/verdict.ts";
import { smtpEnvelopeSchema } from "../mail/smtp-envelope.ts";

/**
 * The words on the wire. Every message is a msgpack head that fits one of these schemas, and, where
 * the schema's prose says so, a second frame with bytes. Unknown fields are kept. `v`, `kind` and
 * `bytes` mean the same in every version. shared/README.md states each frame with vectors.
 */
export const wireVersions = [1] as const;
export const wireVersion = 1;

const hex128 = z.string().regex(/^[0-9a-f]{32}$/);
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const actorId = z.string().min(1).max(128);
const count = z.number().int().nonnegative();

/**
 * How many tasks, and how many bytes of mail in them, a dispatcher may leave unanswered at this
 * worker at once: an absolute grant, never a difference. A result gives its task's share back.
 */
export const creditSchema = z.looseObject({ tasks: count, bytes: count });
export type Credit = z.infer<typeof creditSchema>;

/** Who may open a session with a dispatcher: the workers of a kind, or a relay, which takes hints alone. */
export const sessionKindSchema = z.union([taskKindSchema, z.literal("relay")]);
export type SessionKind = z.infer<typeof sessionKindSchema>;

/** Names both ends' incarnations by one nonce that the dispatcher drew; 128 bits, hex. */
const session = hex128;

const common = {
  v: z.number().int().positive(),
  from: actorId,
  /** Length of the frame that goes with this head; absent if none does. */
  bytes: count.optional(),
};

/**
 * Worker → dispatcher: "I exist, send to this mailbox." Again after 3 s without a heartbeat. Written
 * in the lowest version that the worker speaks.
 */
export const readyHeadSchema = z.looseObject({
  ...common,
  kind: z.literal("ready"),
  incarnation: hex128,
  /** Drawn for this `ready`; the dispatcher's heartbeats echo it, so that the worker knows whose they are. */
  link: hex128,
  task: sessionKindSchema,
  versions: z.array(z.number().int().positive()).min(1).max(8),
  /** `tcp://address:port` or `ipc://path` of the worker's PULL. */
  mailbox: z.string().max(256),
  /** If the bus has keys: that of the mailbox, in Z85. The dispatcher connects to its holder alone. */
  publicKey: z.string().length(40).optional(),
  engine: engineSchema.optional(),
  /** Spools that the worker has proven that it (and its engine) can read. */
  spools: z.array(z.string().max(64)).max(8).default([]),
});
export type ReadyHead = z.infer<typeof readyHeadSchema>;

/** Both ways, each second. `session` and, from the worker, its credit; the dispatcher's first one opens the session. */
export const heartbeatHeadSchema = z.looseObject({
  ...common,
  kind: z.literal("heartbeat"),
  session,
  /** The sender's. */
  incarnation: hex128,
  /** From a dispatcher only: the `link` of the `ready` that this session answers. */
  link: hex128.optional(),
  /** From a worker only. */
  credit: creditSchema.optional(),
  /** Why the credit is zero, if it is. */
  unable: z.string().max(500).optional(),
  engine: engineSchema.optional(),
  spools: z.array(z.string().max(64)).max(8).optional(),
  /**
   * From a worker: the highest `sequence` that came, and the highest up to which every task is
   * answered (or never came though a later one did). What is not answered by then is lost.
   */
  lastSeen: count.optional(),
  lastDone: count.optional(),
  /** Epoch milliseconds until which silence is not death (long synchronous work). */
  busyUntil: z.number().optional(),
  /** From a worker: the 1-based number of this heartbeat in the session. */
  beat: z.number().int().positive().optional(),
  /** From a dispatcher: the `beat` that it has taken in last, and so the credit that it goes by. */
  heard: count.optional(),
  /** From a dispatcher: a task with `alone` waits for this worker. */
  wantsSole: z.boolean().optional(),
  /** From a worker: no other dispatcher's task is here or can come, until one with `alone` has come. */
  sole: z.boolean().optional(),
});
export type HeartbeatHead = z.infer<typeof heartbeatHeadSchema>;

const taskCommon = {
  ...common,
  kind: z.literal("task"),
  session,
  /** Random, known to this dispatcher and this worker alone (I4). */
  taskId: hex128,
  /** 1-based place in the session. */
  sequence: z.number().int().positive(),
  mailId: z.string().min(1).max(64),
  attempt: z.number().int().positive(),
  /** SHA-256 and size of the raw mail: the second frame, or the file at `spool.path`. */
  sha256,
  size: count,
  settingsHash: z.string().length(32),
  /** Milliseconds from arrival within which the result must be sent. */
  deadlineMs: z.number().positive(),
  smtp: smtpEnvelopeSchema,
  /** Disk mode: the second frame is absent and the mail lies here. */
  spool: z.looseObject({ id: z.string().max(64), path: z.string().max(1024) }).optional(),
  /** Nothing else may be worked on beside it (a mail under suspicion of killing workers). */
  alone: z.boolean().optional(),
  traceparent: z.string().max(128).optional(),
};

const enrichTaskSchema = z.looseObject({
  ...taskCommon,
  task: z.literal("enrich"),
  settings: enrichSettingsSchema,
  verdicts: verdictsSchema,
  /** What policy made of the verdicts; `tag` asks for the subject tag. Absent: score against threshold. */
  disposition: z.enum(["deliver", "tag"]).optional(),
});
export type EnrichTask = z.output<typeof enrichTaskSchema>;

type TaskCommon = z.output<z.ZodObject<typeof taskCommon, z.core.$loose>>;
/** A task that asks for a verdict: its settings are those of its check. */
export type CheckTask<N extends CheckKind = CheckKind> = N extends CheckKind
  ? TaskCommon & { task: N; settings: SettingsOf<N> }
  : never;

/** Dispatcher → worker. Second frame: the raw mail, unless `spool` is there. */
export const taskHeadSchema = z.union([
  z.discriminatedUnion("task", [
    enrichTaskSchema,
    ...Object.values(
      ofEach(({ name, settings }) =>
        z.looseObject({ ...taskCommon, task: z.literal(name), settings }),
      ),
    ),
  ]),
  z.looseObject({ ...taskCommon, task: ownCheckSchema, settings: ownSettingsSchema }),
]) as unknown as z.ZodType<CheckTask | EnrichTask>;
export type TaskHead = CheckTask | EnrichTask;

export function isEnrichTask(head: TaskHead): head is EnrichTask {
  return head.task === "enrich";
}

/** The task asks for this check. */
export function isTaskOf<N extends CheckKind>(head: TaskHead, name: N): head is CheckTask<N> {
  return head.task === name;
}

/** Mails that a hint names at most. */
export const namedAtMost = 100;

/**
 * Dispatcher → relay: these mails wait for this route. A hint and never more (I6): one that is lost, late or
 * told twice does no harm.
 */
export const waitingHeadSchema = z.looseObject({
  ...common,
  kind: z.literal("waiting"),
  session,
  route: z.string().min(1).max(128),
  mails: z.array(z.string().min(1).max(64)).max(namedAtMost),
});
export type WaitingHead = z.infer<typeof waitingHeadSchema>;

/**
 * Worker → dispatcher: every task of this session up to this number is being worked on, or is
 * answered; only from here on can it be a strike. A worker begins tasks in their order.
 */
export const startedHeadSchema = z.looseObject({
  ...common,
  kind: z.literal("started"),
  session,
  sequence: z.number().int().positive(),
});
export type StartedHead = z.infer<typeof startedHeadSchema>;

/**
 * What the enricher found. Second frame of the result: the new header, as far down as it differs
 * from the old one, or, with `bodyChanged`, the whole changed mail.
 */
export const enrichOutputSchema = z.discriminatedUnion("kind", [
  z.looseObject({
    kind: z.literal("enriched"),
    bodyChanged: z.boolean(),
    /** Offset in the raw mail at which the untouched rest begins (0 with `bodyChanged`). */
    restOffset: count,
    /** Of the bytes that the relay will send. */
    sha256,
    size: count,
    signature: z.looseObject({ domain: z.string(), selector: z.string() }).optional(),
    mailFrom: z.string().max(320).optional(),
    notes: z.array(z.string().max(500)).max(20),
  }),
  /** The change that policy demands cannot be made now: the mail is held, not sent without it. */
  z.looseObject({
    kind: z.literal("unable"),
    reason: z.string().max(1000),
    /** It is the mail itself, which no later try makes another one. */
    permanent: z.boolean().optional(),
  }),
]);
export type EnrichOutput = z.infer<typeof enrichOutputSchema>;

/** The task could not be worked on at all; a transient reason, never a verdict. */
export const failureSchema = z.looseObject({
  kind: z.literal("failed"),
  /** An error code of shared/errors. */
  code: z.string().max(64),
  detail: z.string().max(1000),
});

const resultCommon = {
  ...common,
  kind: z.literal("result"),
  session,
  taskId: hex128,
  mailId: z.string().min(1).max(64),
  sha256,
  settingsHash: z.string().length(32),
  queueMs: z.number().nonnegative(),
  workMs: z.number().nonnegative(),
  /** Absent: the engine that the worker's last `ready` or `heartbeat` named. */
  engine: engineSchema.optional(),
  blind: z.array(z.string().max(32)).max(8).optional(),
  /** With `unchecked`: times that the engine died, or did not answer, over this mail or with it in hand. */
  strikes: z.number().int().min(1).max(8).optional(),
};

type Failure = z.output<typeof failureSchema>;
type ResultCommon = z.output<z.ZodObject<typeof resultCommon, z.core.$loose>>;
export type CheckResult<N extends CheckKind = CheckKind> = N extends CheckKind
  ? ResultCommon & { task: N; output: FindingOf<N> | Failure }
  : never;
export type EnrichResult = ResultCommon & { task: "enrich"; output: EnrichOutput | Failure };
export type ResultHead = CheckResult | EnrichResult;
/** A result that is not a failure: that comes as a lost task. */
export type CheckAnswer<N extends CheckKind = CheckKind> = N extends CheckKind
  ? ResultCommon & { task: N; output: FindingOf<N> }
  : never;
export type EnrichAnswer = ResultCommon & { task: "enrich"; output: EnrichOutput };
export type AnsweredHead = CheckAnswer | EnrichAnswer;

/** Worker → dispatcher, once per task. Echoes what was asked (I4). */
export const resultHeadSchema = z.union([
  z.discriminatedUnion("task", [
    z.looseObject({
      ...resultCommon,
      task: z.literal("enrich"),
      output: z.union([enrichOutputSchema, failureSchema]),
    }),
    ...Object.values(
      ofEach(({ name, finding }) =>
        z.looseObject({
          ...resultCommon,
          task: z.literal(name),
          output: z.union([finding, failureSchema]),
        }),
      ),
    ),
  ]),
  z.looseObject({
    ...resultCommon,
    task: ownCheckSchema,
    output: z.union([ownFindingSchema, failureSchema]),
  }),
]) as unknown as z.ZodType<ResultHead>;

export function isEnrichResult(head: ResultHead): head is EnrichResult {
  return head.task === "enrich";
}

/** Both ways: the sender takes nothing new; from a worker `done` once its last result is out. */
export const byeHeadSchema = z.looseObject({
  ...common,
  kind: z.literal("bye"),
  session,
  done: z.boolean(),
});
export type ByeHead = z.infer<typeof byeHeadSchema>;

/**
 * Dispatcher → worker: this task is no longer wanted (deadline passed, mail given up). The worker
 * stops and still answers once, so that its credit comes back.
 */
export const cancelHeadSchema = z.looseObject({
  ...common,
  kind: z.literal("cancel"),
  session,
  taskId: hex128,
});
export type CancelHead = z.infer<typeof cancelHeadSchema>;

export const headSchema = z.union([
  readyHeadSchema,
  heartbeatHeadSchema,
  taskHeadSchema,
  startedHeadSchema,
  resultHeadSchema,
  byeHeadSchema,
  cancelHeadSchema,
  waitingHeadSchema,
]);
export type Head = z.infer<typeof headSchema>;
