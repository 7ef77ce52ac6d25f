import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test, vi } from "vitest";
import type { TaskMail } from "../../src/worker/handler.ts";
import { spoolIdFile } from "../../src/worker/spool.ts";
import {
  createHandler,
  openPool,
  openWorker,
  untilFree,
  virusTask,
} from "../bus/pool-and-worker.ts";

const mail = Buffer.from("Subject: hello\r\n\r\nbody\r\n");

async function openSpool(): Promise<string> {
  const dir = await mkdtemp(join(tmpdir(), "spool-"));
  onTestFinished(() => rm(dir, { recursive: true }));
  await writeFile(join(dir, spoolIdFile), "spool-a\n");
  return dir;
}

/** A pool and a worker that has proved that it sees the spool. */
async function openBoth(dir: string) {
  const observed = await openPool();
  const seen: TaskMail[] = [];
  const handler = createHandler({
    handle: (_task, raw) => {
      seen.push(raw);
      return Promise.resolve({ output: { kind: "clean" } });
    },
    seesFile: (path) => Promise.resolve(path === join(dir, spoolIdFile)),
  });
  openWorker(observed.pool.endpoint, { handler, env: { SPOOL_DIR: dir } });
  await untilFree(observed.pool);
  return { ...observed, seen };
}

const spooled = { spool: { id: "spool-a", path: "/elsewhere/mail.eml" } };

test("a worker that sees the spool gets the path under its own folder, and no bytes", async () => {
  const dir = await openSpool();
  await writeFile(join(dir, "mail.eml"), mail);
  const { pool, results, seen } = await openBoth(dir);
  expect(pool.workers()[0]?.spools).toEqual(["spool-a"]);
  expect(pool.place("virus", virusTask(mail), spooled)).toBeDefined();
  await vi.waitFor(() => expect(results).toHaveLength(1));
  expect(seen).toEqual([{ kind: "file", path: join(dir, "mail.eml"), size: mail.length }]);
});

test.each([
  ["other bytes of the same size", Buffer.from(mail).fill("x")],
  ["another size", Buffer.concat([mail, mail])],
  ["nothing", undefined],
])("a spool file with %s never reaches the handler", async (_, content) => {
  const dir = await openSpool();
  if (content !== undefined) await writeFile(join(dir, "mail.eml"), content);
  const { pool, lost, seen } = await openBoth(dir);
  pool.place("virus", virusTask(mail), spooled);
  await vi.waitFor(() => expect(lost).toHaveLength(1));
  expect(lost[0]?.failure?.code).toBe("WORKER_SPOOL");
  expect(seen).toEqual([]);
});

test("a path that leads out of the spool is taken as a name in it", async () => {
  const dir = await openSpool();
  const { pool, lost, seen } = await openBoth(dir);
  pool.place("virus", virusTask(mail), { spool: { id: "spool-a", path: "../../etc/passwd" } });
  await vi.waitFor(() => expect(lost).toHaveLength(1));
  expect(seen).toEqual([]);
});

test("a worker whose engine does not read the spool's file announces no spool and gets no path", async () => {
  const dir = await openSpool();
  const { pool } = await openPool();
  const handler = createHandler({ seesFile: () => Promise.resolve(false) });
  openWorker(pool.endpoint, { handler, env: { SPOOL_DIR: dir } });
  await untilFree(pool);
  expect(pool.workers()[0]?.spools).toEqual([]);
  expect(pool.place("virus", virusTask(mail), spooled)).toBeUndefined();
});
