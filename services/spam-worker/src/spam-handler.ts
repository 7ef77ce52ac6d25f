import type { SpamTask, TaskHead } from "@rs-agent/shared/bus/wire.ts";
import type { SpamFinding } from "@rs-agent/shared/mail/verdict.ts";
import type { TaskHandler, TaskMail, TaskOutput } from "@rs-agent/shared/worker/handler.ts";
import { canRead } from "@rs-agent/shared/worker/spool.ts";
import { mailForSpamd } from "./mail-for-spamd.ts";
import type { SpamdPool } from "./spamd-pool.ts";

export interface SpamHandlerDeps {
  pool: SpamdPool;
  /** The longest that spamd may take for one mail, in milliseconds. */
  timeoutMs: number;
}

/** Of a task's deadline, what is left to the result's way back. */
const wayBackMs = 500;
/** A spamd that says in this time how it is was not merely slow with a mail. */
const longestAccountMs = 10_000;

/** The spam check of one worker: tasks of kind `spam`, judged by its spamds. */
export function createSpamHandler({ pool, timeoutMs }: SpamHandlerDeps): TaskHandler {
  return {
    kind: "spam",
    concurrency: () => pool.concurrency(),
    whyNone: () => pool.reasons(),
    canary: (signal) => pool.canary(signal),
    handle: async (task, mail, { signal }) => {
      const limitMs = Math.min(timeoutMs, Math.max(1, task.deadlineMs - wayBackMs));
      const accountMs = Math.min(longestAccountMs, task.deadlineMs - limitMs - wayBackMs);
      return check(pool, spamTask(task), mail, { signal, timeoutMs: limitMs, accountMs });
    },
    // spamd is always given bytes; from a shared spool we take them ourselves.
    seesFile: canRead,
    close: async () => {
      pool.close();
      return Promise.resolve();
    },
  };
}

async function check(
  pool: SpamdPool,
  task: SpamTask,
  mail: TaskMail,
  limits: { signal: AbortSignal; timeoutMs: number; accountMs: number },
): Promise<TaskOutput> {
  const { settings } = task;
  const given = await mailForSpamd(mail, task.smtp.mailFrom, settings);
  if (given.kind === "too-large") return { output: tooLarge(task.size, settings.maxBytes) };
  const user = settings.user === undefined ? {} : { user: settings.user };
  const { finding, engine, strikes } = await pool.judge(given.pieces, { ...limits, ...user });
  const output =
    given.scannedBytes === undefined ? finding : ofHead(finding, given.scannedBytes, task.size);
  return {
    output,
    ...(engine === undefined ? {} : { engine }),
    ...(strikes === undefined ? {} : { strikes }),
  };
}

function spamTask(task: TaskHead): SpamTask {
  if (task.task !== "spam") throw new TypeError(`a ${task.task} task came to a spam-worker`);
  return task;
}

function tooLarge(size: number, maxBytes: number): SpamFinding {
  return {
    kind: "unchecked",
    reason: "too-large",
    detail: `${size} bytes; policy gives spamd at most ${maxBytes}`,
  };
}

function ofHead(finding: SpamFinding, scannedBytes: number, size: number): SpamFinding {
  if (finding.kind === "unchecked") return finding;
  return { ...finding, detail: `only the first ${scannedBytes} of ${size} bytes were checked` };
}
