import { isTaskOf, type CheckTask, type TaskHead } from "@rs-agent/shared/bus/wire.ts";
import { unchecked } from "@rs-agent/shared/checks/finding.ts";
import type { SpamEngineName, SpamFinding } from "@rs-agent/shared/checks/spam.ts";
import type { PoolAskOptions } from "@rs-agent/shared/engines/engine-pool.ts";
import { askOptionsOf, handlerPart, outputOf } from "@rs-agent/shared/engines/pool-handler.ts";
import type { TaskHandler, TaskMail, TaskOutput } from "@rs-agent/shared/worker/handler.ts";
import { canRead } from "@rs-agent/shared/worker/spool.ts";
import { mailForEngine } from "./mail-for-engine.ts";
import type { SpamEnginePool } from "./spam-engine.ts";

export interface SpamHandlerDeps {
  pool: SpamEnginePool;
  /** Which engine its pool has. */
  engine: SpamEngineName;
  /** The longest that the engine may take per mail, in milliseconds. */
  timeoutMs: number;
}

/** The spam check of one worker: tasks of kind `spam`, judged by its engines. */
export function createSpamHandler({ pool, engine, timeoutMs }: SpamHandlerDeps): TaskHandler {
  return {
    kind: "spam",
    ...handlerPart(pool),
    handle: async (task, mail, { signal }) => {
      const asked = spamTask(task);
      const other = asked.settings.engine;
      if (other !== undefined && other !== engine) return { output: wrongEngine(other, engine) };
      return check(pool, asked, mail, { ...askOptionsOf(task, timeoutMs), signal });
    },
    // The engine is always given bytes; we read them from a shared spool ourselves.
    seesFile: canRead,
  };
}

async function check(
  pool: SpamEnginePool,
  task: CheckTask<"spam">,
  mail: TaskMail,
  options: PoolAskOptions,
): Promise<TaskOutput> {
  const { mailId, smtp, settings, size } = task;
  const given = await mailForEngine(mail, settings);
  if (given.kind === "too-large") return { output: tooLarge(size, settings.maxBytes) };
  const user = settings.user === undefined ? {} : { user: settings.user };
  const answer = await pool.ask({ mailId, raw: given.raw, smtp, ...user }, options);
  const { scannedBytes } = given;
  if (scannedBytes === undefined) return outputOf(answer);
  return outputOf({ ...answer, finding: ofHead(answer.finding, scannedBytes, size) });
}

function spamTask(task: TaskHead): CheckTask<"spam"> {
  if (!isTaskOf(task, "spam")) throw new TypeError(`a ${task.task} task came to a spam-worker`);
  return task;
}

/** A dispatcher that knows about engines does not send such a task here. */
function wrongEngine(asked: SpamEngineName, own: SpamEngineName): SpamFinding {
  return unchecked("engine-away", `the policy asks for ${asked}; this worker has ${own}`);
}

function tooLarge(size: number, maxBytes: number): SpamFinding {
  return unchecked("too-large", `${size} bytes; the policy checks at most ${maxBytes}`);
}

function ofHead(finding: SpamFinding, scannedBytes: number, size: number): SpamFinding {
  if (finding.kind === "unchecked") return finding;
  const part = `only the first ${scannedBytes} of ${size} bytes were checked`;
  const { detail } = finding;
  return { ...finding, detail: detail === undefined ? part : `${detail}; ${part}` };
}
