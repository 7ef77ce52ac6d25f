import { lstat, readFile } from "node:fs/promises";
import type { VirusFinding } from "@rs-agent/shared/checks/virus.ts";
import type { PoolAnswer, PoolAskOptions } from "@rs-agent/shared/engines/engine-pool.ts";
import { askOptionsOf, handlerPart, outputOf } from "@rs-agent/shared/engines/pool-handler.ts";
import type { TaskHandler, TaskMail } from "@rs-agent/shared/worker/handler.ts";
import type { ClamdPool } from "./clamd/engine.ts";
import type { ScanInput } from "./clamd/frames.ts";

/**
 * The virus check: the raw mail goes to one clamd of the pool, whose answer is the finding.
 * `timeoutMs` bounds each scan, in addition to the task's own deadline.
 */
export function createVirusHandler(deps: { pool: ClamdPool; timeoutMs: number }): TaskHandler {
  const { pool, timeoutMs } = deps;
  return {
    kind: "virus",
    ...handlerPart(pool),
    async handle(task, mail, { signal }) {
      return outputOf(await scanMail(pool, mail, { ...askOptionsOf(task, timeoutMs), signal }));
    },
    seesFile: (path, signal) => everyClamdSees(pool, path, signal),
  };
}

async function scanMail(
  pool: ClamdPool,
  mail: TaskMail,
  options: PoolAskOptions,
): Promise<PoolAnswer<VirusFinding>> {
  if (mail.kind === "bytes") return pool.ask({ kind: "bytes", bytes: mail.bytes }, options);
  if (await isRegularFile(mail.path, mail.size)) {
    const scanned = await pool.ask({ kind: "path", path: mail.path }, options);
    if (!isPathProblem(scanned)) return scanned;
  }
  // A clamd that joined later may not share the disk. Bytes reach every clamd.
  const bytes = await readFile(mail.path, { signal: options.signal });
  return pool.ask({ kind: "bytes", bytes }, options);
}

/**
 * Only a regular file is given by path: clamd answers `OK` to a symbolic link that it does not
 * follow.
 */
async function isRegularFile(path: string, size: number): Promise<boolean> {
  const stats = await lstat(path);
  return stats.isFile() && stats.size === size;
}

function isPathProblem({ finding, strikes }: PoolAnswer<VirusFinding>): boolean {
  return strikes === undefined && finding.kind === "unchecked" && finding.reason === "engine-error";
}

/** A path must work for all addresses: the pool chooses by load, not by disk. */
async function everyClamdSees(
  pool: ClamdPool,
  path: string,
  signal: AbortSignal,
): Promise<boolean> {
  const stats = await lstat(path).catch(() => undefined);
  if (stats?.isFile() !== true) return false;
  const input: ScanInput = { kind: "path", path };
  const answers = await pool.askEach(input, signal);
  return answers.length > 0 && answers.every((finding) => finding.kind !== "unchecked");
}
