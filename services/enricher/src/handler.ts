import { readFile } from "node:fs/promises";
import { RetryableError, messageOf } from "@rs-agent/shared/errors.ts";
import { sha256Hex } from "@rs-agent/shared/ids.ts";
import type { Engine } from "@rs-agent/shared/checks/finding.ts";
import { isEnrichTask, type EnrichTask, type TaskHead } from "@rs-agent/shared/bus/wire.ts";
import type { Ability, TaskHandler, TaskMail } from "@rs-agent/shared/worker/handler.ts";
import { canRead } from "@rs-agent/shared/worker/spool.ts";
import { createCanary } from "./canary.ts";
import { enrich, type EnrichDeps } from "./enrich.ts";

export interface EnrichHandlerDeps extends EnrichDeps {
  /** Mails worked on at once. */
  readonly concurrency: number;
}

const engine: Engine = { name: "rs-agent enricher", version: "1" };

/** The enricher as a task handler, which has no engine but itself. Owns `deps.countries`. */
export function createEnrichHandler(deps: EnrichHandlerDeps): TaskHandler {
  const canary = createCanary(deps);
  return {
    kind: "enrich",
    concurrency: () => deps.concurrency,
    handle: async (task, mail, { signal }) => {
      const asked = enrichTask(task);
      return enrich(await bytesOf(mail, asked), asked, deps, signal);
    },
    canary: async (signal): Promise<Ability> => {
      const wrong = await canary(signal);
      return wrong === undefined ? { able: true, engine } : { able: false, reason: wrong };
    },
    seesFile: canRead,
    close: () => {
      deps.countries.close();
      return Promise.resolve();
    },
  };
}

function enrichTask(task: TaskHead): EnrichTask {
  if (!isEnrichTask(task)) throw new Error(`the enricher was given a task ${task.task}`);
  return task;
}

/** The raw mail; a spool file must hold exactly the bytes that the task names. */
async function bytesOf(mail: TaskMail, task: EnrichTask): Promise<Buffer> {
  if (mail.kind === "bytes") return mail.bytes;
  const bytes = await readFile(mail.path).catch((error: unknown) => {
    const text = `the spool's file cannot be read: ${messageOf(error)}`;
    throw new RetryableError("STORE_BODY_MISSING", text, { cause: error });
  });
  if (bytes.length === task.size && sha256Hex(bytes) === task.sha256) return bytes;
  throw new RetryableError("STORE_BODY_CORRUPT", "the spool's file is not the mail of the task");
}
