import { isTaskOf, type CheckTask, type TaskHead } from "@rs-agent/shared/bus/wire.ts";
import type { SpamEngineName } from "@rs-agent/shared/checks/spam.ts";
import type { SpamFinding } from "@rs-agent/shared/checks/spam.ts";
import type { TaskHandler, TaskMail, TaskOutput } from "@rs-agent/shared/worker/handler.ts";
import { canRead } from "@rs-agent/shared/worker/spool.ts";
import type { EnginePool } from "./engine-pool.ts";
import { mailForEngine } from "./mail-for-engine.ts";

export interface SpamHandlerDeps {
  pool: EnginePool;
  /** What its engines are. */
  engine: SpamEngineName;
  /** The longest that the engine may take for one mail, in milliseconds. */
  timeoutMs: number;
}

/** Of a task's deadline, what is left to the result's way back. */
const wayBackMs = 500;
/** An engine that says in this time how it is was not merely slow with a mail. */
const longestAccountMs = 10_000;

/** The spam check of one worker: tasks of kind `spam`, judged by its engines. */
export function createSpamHandler({ pool, engine, timeoutMs }: SpamHandlerDeps): TaskHandler {
  return {
    kind: "spam",
    concurrency: () => pool.concurrency(),
    whyNone: () => pool.reasons(),
    canary: (signal) => pool.canary(signal),
    handle: async (task, mail, { signal }) => {
      const limitMs = Math.min(timeoutMs, Math.max(1, task.deadlineMs - wayBackMs));
      const accountMs = Math.min(longestAccountMs, task.deadlineMs - limitMs - wayBackMs);
      const asked = spamTask(task);
      const other = asked.settings.engine;
      if (other !== undefined && other !== engine) return { output: wrongEngine(other, engine) };
      return check(pool, asked, mail, { signal, timeoutMs: limitMs, accountMs });
    },
    // The engine is always given bytes; from a shared spool we take them ourselves.
    seesFile: canRead,
    close: async () => {
      pool.close();
      return Promise.resolve();
    },
  };
}

async function check(
  pool: EnginePool,
  task: CheckTask<"spam">,
  mail: TaskMail,
  limits: { signal: AbortSignal; timeoutMs: number; accountMs: number },
): Promise<TaskOutput> {
  const { settings } = task;
  const given = await mailForEngine(mail, settings);
  if (given.kind === "too-large") return { output: tooLarge(task.size, settings.maxBytes) };
  const { mailId, smtp } = task;
  const user = settings.user === undefined ? {} : { user: settings.user };
  const { finding, engine, strikes } = await pool.judge(
    { mailId, raw: given.raw, smtp, ...user },
    limits,
  );
  const output =
    given.scannedBytes === undefined ? finding : ofHead(finding, given.scannedBytes, task.size);
  return {
    output,
    ...(engine === undefined ? {} : { engine }),
    ...(strikes === undefined ? {} : { strikes }),
  };
}

function spamTask(task: TaskHead): CheckTask<"spam"> {
  if (!isTaskOf(task, "spam")) throw new TypeError(`a ${task.task} task came to a spam-worker`);
  return task;
}

/** A dispatcher that knows of engines does not send it here. */
function wrongEngine(asked: SpamEngineName, own: SpamEngineName): SpamFinding {
  const detail = `the policy asks for ${asked}; this worker has ${own}`;
  return { kind: "unchecked", reason: "engine-away", detail };
}

function tooLarge(size: number, maxBytes: number): SpamFinding {
  return {
    kind: "unchecked",
    reason: "too-large",
    detail: `${size} bytes; policy has at most ${maxBytes} checked`,
  };
}

function ofHead(finding: SpamFinding, scannedBytes: number, size: number): SpamFinding {
  if (finding.kind === "unchecked") return finding;
  const part = `only the first ${scannedBytes} of ${size} bytes were checked`;
  const { detail } = finding;
  return { ...finding, detail: detail === undefined ? part : `${detail}; ${part}` };
}
