import { lstat, readFile } from "node:fs/promises";
import type { Ability, TaskHandler, TaskMail } from "@rs-agent/shared/worker/handler.ts";
import { createDeadline } from "@rs-agent/shared/deadline.ts";
import type { ScanInput } from "./clamd/frames.ts";
import type { ClamdPool, Scanned } from "./clamd/pool.ts";

/**
 * The virus check: the raw mail goes to one of the pool's clamd, its answer is the finding.
 * `timeoutMs` bounds each scan beside the task's own deadline.
 */
export function createVirusHandler(deps: { pool: ClamdPool; timeoutMs: number }): TaskHandler {
  const { pool, timeoutMs } = deps;
  return {
    kind: "virus",
    concurrency: () => pool.grant(),
    whyNone: () => pool.reasons(),
    async handle(task, mail, { signal }) {
      const deadline = createDeadline(timeoutMs, signal);
      const suspect = task.alone === true;
      try {
        const scanned = await scanMail(pool, mail, deadline.signal, { suspect });
        const { finding, engine, blind, strikes } = scanned;
        return {
          output: finding,
          ...(blind.length > 0 ? { blind } : {}),
          ...(engine === undefined ? {} : { engine }),
          ...(strikes === undefined ? {} : { strikes }),
        };
      } finally {
        deadline.end();
      }
    },
    canary: (signal) => checkPool(pool, signal),
    seesFile: (path, signal) => everyClamdSees(pool, path, signal),
    close() {
      pool.close();
      return Promise.resolve();
    },
  };
}

/** Able while one clamd is; the reason names every one that is not. */
async function checkPool(pool: ClamdPool, signal: AbortSignal): Promise<Ability> {
  const states = await pool.check(signal);
  const able = states.find((state) => state.kind === "able");
  if (able !== undefined) return { able: true, engine: able.engine, blind: able.blind };
  return { able: false, reason: pool.reasons() };
}

async function scanMail(
  pool: ClamdPool,
  mail: TaskMail,
  signal: AbortSignal,
  how: { suspect: boolean },
): Promise<Scanned> {
  if (mail.kind === "bytes") return pool.scan({ kind: "bytes", bytes: mail.bytes }, signal, how);
  if (await isRegularFile(mail.path, mail.size)) {
    const scanned = await pool.scan({ kind: "path", path: mail.path }, signal, how);
    if (!isPathProblem(scanned)) return scanned;
  }
  // A clamd that came later may not share the disk: the bytes reach every one of them.
  const bytes = await readFile(mail.path, { signal });
  return pool.scan({ kind: "bytes", bytes }, signal, how);
}

/** clamd answers `OK` to a symbolic link that it does not follow: only a file is given by path. */
async function isRegularFile(path: string, size: number): Promise<boolean> {
  const stats = await lstat(path);
  return stats.isFile() && stats.size === size;
}

function isPathProblem({ finding, strikes }: Scanned): boolean {
  return strikes === undefined && finding.kind === "unchecked" && finding.reason === "engine-error";
}

/** A path answers for all addresses or for none: the pool chooses by load, not by disk. */
async function everyClamdSees(
  pool: ClamdPool,
  path: string,
  signal: AbortSignal,
): Promise<boolean> {
  const stats = await lstat(path).catch(() => undefined);
  if (stats?.isFile() !== true) return false;
  const input: ScanInput = { kind: "path", path };
  const answers = await pool.scanOnEach(input, signal);
  return answers.length > 0 && answers.every((finding) => finding.kind !== "unchecked");
}
