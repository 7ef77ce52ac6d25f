import { expect, test, vi } from "vitest";
import { RetryableError } from "../../src/errors.ts";
import type { TaskOutput } from "../../src/worker/handler.ts";
import { createHandler, openPool, openWorker, untilFree, virusTask } from "./pool-and-worker.ts";

const mail = Buffer.from("Subject: hello\r\n\r\nbody\r\n");

test("a task's mail reaches the handler byte by byte, and its finding comes back", async () => {
  const { pool, results } = await openPool();
  const seen: unknown[] = [];
  openWorker(pool.endpoint, {
    handler: createHandler({
      handle: (task, raw) => {
        seen.push({ mailId: task.mailId, smtp: task.smtp, raw });
        return Promise.resolve({ output: { kind: "infected", names: ["Eicar"] } });
      },
      canary: () => Promise.resolve({ able: true, engine: { name: "clamd", version: "1.4.3" } }),
    }),
  });
  await untilFree(pool);
  const task = virusTask(mail);
  const placed = pool.place("virus", task, mail);
  await vi.waitFor(() => expect(results).toHaveLength(1));
  expect(seen).toEqual([
    { mailId: task.mailId, smtp: task.smtp, raw: { kind: "bytes", bytes: mail } },
  ]);
  expect(results[0]).toMatchObject({
    taskId: placed?.taskId,
    workerId: "virus-1",
    kind: "virus",
    task,
    head: { output: { kind: "infected", names: ["Eicar"] } },
    engine: { name: "clamd", version: "1.4.3" },
  });
});

test("an enricher's bytes come back as the second frame", async () => {
  const { pool, results } = await openPool();
  const bytes = Buffer.from("X-Header: new\r\n");
  const output: TaskOutput = {
    output: {
      kind: "enriched",
      bodyChanged: false,
      restOffset: 4,
      sha256: "ab".repeat(32),
      size: 99,
      notes: [],
    },
    bytes,
  };
  openWorker(pool.endpoint, {
    handler: createHandler({ kind: "enrich", handle: () => Promise.resolve(output) }),
  });
  await vi.waitFor(() => expect(pool.free("enrich").tasks).toBeGreaterThan(0));
  const settings = { changes: [], spamThreshold: 5 };
  pool.place("enrich", { ...virusTask(mail), settings, verdicts: {} }, mail);
  await vi.waitFor(() => expect(results).toHaveLength(1));
  expect(results[0]?.bytes?.equals(bytes)).toBe(true);
});

test("thousands of tasks each have one answer, and credit is never exceeded (I7)", async () => {
  const { pool, results, lost } = await openPool();
  let running = 0;
  let most = 0;
  openWorker(pool.endpoint, {
    handler: createHandler({
      concurrency: () => 8,
      handle: async () => {
        running += 1;
        most = Math.max(most, running);
        await new Promise((resolve) => setImmediate(resolve));
        running -= 1;
        return { output: { kind: "clean" } };
      },
    }),
  });
  await untilFree(pool, 16);
  const placed = new Set<string>();
  await vi.waitFor(() => {
    for (;;) {
      const one = placed.size < 3_000 ? pool.place("virus", virusTask(mail), mail) : undefined;
      if (one === undefined) break;
      placed.add(one.taskId);
      expect(placed.size - results.length).toBeLessThanOrEqual(16);
    }
    expect(results).toHaveLength(3_000);
  });
  expect(new Set(results.map(({ taskId }) => taskId))).toEqual(placed);
  expect(most).toBe(8);
  expect(lost).toEqual([]);
  expect(pool.workers()[0]?.outstanding).toEqual({ tasks: 0, bytes: 0 });
});

test("what a handler throws comes back as a failed task with its code", async () => {
  const { pool, lost } = await openPool();
  openWorker(pool.endpoint, {
    handler: createHandler({
      handle: () => Promise.reject(new RetryableError("AV_ENGINE_AWAY", "nobody there")),
    }),
  });
  await untilFree(pool);
  pool.place("virus", virusTask(mail), mail);
  await vi.waitFor(() => expect(lost).toHaveLength(1));
  expect(lost[0]).toMatchObject({
    reason: "failed",
    started: true,
    failure: { code: "AV_ENGINE_AWAY", detail: "nobody there" },
  });
});

test("a handler's output that the wire does not know is named, not sent", async () => {
  const { pool, lost } = await openPool();
  openWorker(pool.endpoint, {
    handler: createHandler({
      handle: () => Promise.resolve({ output: { kind: "infected", names: [] } }),
    }),
  });
  await untilFree(pool);
  pool.place("virus", virusTask(mail), mail);
  await vi.waitFor(() => expect(lost).toHaveLength(1));
  expect(lost[0]?.failure?.code).toBe("WORKER_HANDLER_FAILED");
});

test("a task past its deadline is aborted, lost once, and its credit comes back", async () => {
  const { pool, lost, results } = await openPool();
  const aborted: unknown[] = [];
  openWorker(pool.endpoint, {
    handler: createHandler({
      handle: (_task, _raw, { signal }) =>
        new Promise((_resolve, reject) => {
          signal.addEventListener("abort", () => {
            aborted.push(signal.reason);
            reject(signal.reason as Error);
          });
        }),
    }),
  });
  await untilFree(pool, 8);
  pool.place("virus", virusTask(mail, { deadlineMs: 150 }), mail);
  await vi.waitFor(() => expect(lost).toHaveLength(1));
  expect(aborted).toMatchObject([{ code: "BUS_DEADLINE" }]);
  expect(lost[0]).toMatchObject({ reason: "deadline", failure: { code: "BUS_DEADLINE" } });
  await untilFree(pool, 8);
  expect([lost.length, results.length]).toEqual([1, 0]);
});

test("a handler that ignores its deadline is answered for, and its late finding goes nowhere", async () => {
  const { pool, lost, results } = await openPool();
  const { promise, resolve } = Promise.withResolvers<TaskOutput>();
  openWorker(pool.endpoint, { handler: createHandler({ handle: () => promise }) });
  await untilFree(pool, 8);
  pool.place("virus", virusTask(mail, { deadlineMs: 100 }), mail);
  await vi.waitFor(() => expect(lost).toHaveLength(1));
  resolve({ output: { kind: "clean" } });
  pool.place("virus", virusTask(mail), mail);
  await vi.waitFor(() => expect(results).toHaveLength(1));
  expect(lost).toHaveLength(1);
});

test("two tasks of one mail, of two claims, are never worked on at once: the second is answered", async () => {
  const { pool, results, lost } = await openPool();
  const release = Promise.withResolvers<TaskOutput>();
  const begun: string[] = [];
  openWorker(pool.endpoint, {
    handler: createHandler({
      handle: ({ mailId }) => {
        begun.push(mailId);
        return mailId === "m1" ? release.promise : Promise.resolve({ output: { kind: "clean" } });
      },
    }),
  });
  await untilFree(pool, 3);
  pool.place("virus", virusTask(mail, { mailId: "m1" }), mail);
  pool.place("virus", virusTask(mail, { mailId: "m1", attempt: 2 }), mail);
  pool.place("virus", virusTask(mail, { mailId: "m2" }), mail);
  await vi.waitFor(() => expect(results).toHaveLength(1));
  expect(lost).toMatchObject([{ reason: "failed", failure: { code: "BUS_MAIL_BUSY" } }]);
  release.resolve({ output: { kind: "clean" } });
  await vi.waitFor(() => expect(results).toHaveLength(2));
  expect(begun).toEqual(["m1", "m2"]);
});

test("a task that was given up but does not end occupies a place, and after a while the worker ends with it", async () => {
  const { pool, lost } = await openPool();
  const { worker, lines } = openWorker(pool.endpoint, {
    handler: createHandler({
      concurrency: () => 2,
      handle: () => new Promise(() => undefined),
    }),
  });
  const ended = worker.done.catch((error: unknown) => error);
  await untilFree(pool, 4);
  pool.place("virus", virusTask(mail, { deadlineMs: 100 }), mail);
  await vi.waitFor(() => expect(lost).toHaveLength(1));
  await vi.waitFor(() => expect(pool.workers()[0]?.grant.tasks).toBe(2));
  pool.place("virus", virusTask(mail, { deadlineMs: 1_200 }), mail);
  await vi.waitFor(() => expect(pool.workers()[0]?.unable).toMatch("do not end"), 3_000);
  expect(pool.free("virus").tasks).toBe(0);
  expect(await ended).toMatchObject({ code: "WORKER_HANDLER_FAILED" });
  await vi.waitFor(() => expect(lost).toHaveLength(2));
  expect(lines.filter(({ level }) => Number(level) > 40)).toEqual([]);
});

test("a cancelled task is aborted at the worker and ends without a word to the dispatcher", async () => {
  const { pool, lost, results } = await openPool();
  const begun = Promise.withResolvers<AbortSignal>();
  openWorker(pool.endpoint, {
    handler: createHandler({
      handle: (_task, _raw, { signal }) => {
        begun.resolve(signal);
        return new Promise((_resolve, reject) =>
          signal.addEventListener("abort", () => reject(signal.reason as Error)),
        );
      },
    }),
  });
  await untilFree(pool, 8);
  const placed = pool.place("virus", virusTask(mail), mail);
  const signal = await begun.promise;
  expect(pool.cancel(placed?.taskId ?? "")).toBe(true);
  expect(pool.cancel(placed?.taskId ?? "")).toBe(false);
  await vi.waitFor(() => expect(signal.aborted).toBe(true));
  await untilFree(pool, 8);
  expect([lost, results]).toEqual([[], []]);
});

test("an idle worker takes a mail larger than all its credit, and one at a time", async () => {
  const { pool, results } = await openPool();
  openWorker(pool.endpoint, { env: { BUS_CREDIT_BYTES: "1000" } });
  await untilFree(pool, 8);
  const huge = Buffer.alloc(3_000_000, "m");
  const task = virusTask(huge);
  expect(pool.place("virus", task, huge)).toBeDefined();
  expect(pool.place("virus", task, huge)).toBeUndefined();
  await vi.waitFor(() => expect(results).toHaveLength(1));
  expect(pool.place("virus", task, huge)).toBeDefined();
  await vi.waitFor(() => expect(results).toHaveLength(2));
});

test("the next large mail follows as soon as the worker has the first, not when it is done", async () => {
  const { pool } = await openPool();
  const release = Promise.withResolvers<TaskOutput>();
  openWorker(pool.endpoint, { handler: createHandler({ handle: () => release.promise }) });
  await untilFree(pool, 8);
  const big = Buffer.alloc(2_000_000, "m");
  pool.place("virus", virusTask(big), big);
  expect(pool.place("virus", virusTask(big), big)).toBeUndefined();
  await vi.waitFor(() => expect(pool.place("virus", virusTask(big), big)).toBeDefined());
  release.resolve({ output: { kind: "clean" } });
});

test("a task that must be alone is worked on with no other", async () => {
  const { pool, results } = await openPool();
  const running = new Set<string>();
  const companions: string[][] = [];
  openWorker(pool.endpoint, {
    handler: createHandler({
      handle: async (task) => {
        running.add(task.mailId);
        await new Promise((resolve) => setImmediate(resolve));
        if (task.alone === true) companions.push([...running]);
        running.delete(task.mailId);
        return { output: { kind: "clean" } };
      },
    }),
  });
  await untilFree(pool, 8);
  pool.place("virus", virusTask(mail), mail);
  const suspect = virusTask(mail, { mailId: "suspect", alone: true });
  // It waits for the worker to be idle, which is kept for it meanwhile.
  expect(pool.place("virus", suspect, mail)).toBeUndefined();
  expect(pool.place("virus", virusTask(mail), mail)).toBeUndefined();
  await vi.waitFor(() => expect(pool.place("virus", suspect, mail)).toBeDefined());
  expect(pool.place("virus", virusTask(mail), mail)).toBeUndefined();
  await vi.waitFor(() => expect(results).toHaveLength(2));
  expect(companions).toEqual([["suspect"]]);
  expect(pool.place("virus", virusTask(mail), mail)).toBeDefined();
});

test("a task that must be alone is alone among all dispatchers' tasks", async () => {
  const pools = [await openPool(), await openPool({ actorId: "dispatcher-2" })] as const;
  const [{ pool: one }, { pool: two }] = pools;
  const running = new Map<string, () => void>();
  openWorker([one.endpoint, two.endpoint], {
    handler: createHandler({
      handle: ({ mailId }) =>
        new Promise((resolve) => {
          running.set(mailId, () => {
            running.delete(mailId);
            resolve({ output: { kind: "clean" } });
          });
        }),
    }),
  });
  const place = (pool: typeof one, mailId: string, alone = false) =>
    pool.place("virus", virusTask(mail, { mailId, alone }), mail);
  await Promise.all([untilFree(one), untilFree(two)]);
  place(two, "innocent");
  await vi.waitFor(() => expect([...running.keys()]).toEqual(["innocent"]));
  // Nothing comes from there any more; what has already arrived is waited for.
  await vi.waitFor(() => {
    expect(place(one, "suspect-1", true)).toBeUndefined();
    expect(two.free("virus").tasks).toBe(0);
  });
  expect(place(two, "suspect-2", true)).toBeUndefined();
  running.get("innocent")?.();
  await vi.waitFor(() => expect(place(one, "suspect-1", true)).toBeDefined());
  await vi.waitFor(() => expect([...running.keys()]).toEqual(["suspect-1"]));
  expect(place(two, "suspect-2", true)).toBeUndefined();
  expect(place(two, "late")).toBeUndefined();
  running.get("suspect-1")?.();
  await vi.waitFor(() => expect(place(two, "suspect-2", true)).toBeDefined());
  expect(place(one, "late")).toBeUndefined();
  await vi.waitFor(() => expect([...running.keys()]).toEqual(["suspect-2"]));
  running.get("suspect-2")?.();
  await vi.waitFor(() => {
    expect(place(one, "late-1")).toBeDefined();
    expect(place(two, "late-2")).toBeDefined();
  });
});

test("a worker is reserved for a suspect only once the other dispatchers know that they have no credit", async () => {
  const { pool: one } = await openPool();
  const { pool: two } = await openPool({ actorId: "dispatcher-2" });
  const { worker } = openWorker([one.endpoint, two.endpoint]);
  await Promise.all([untilFree(one), untilFree(two)]);
  const suspect = () => one.place("virus", virusTask(mail, { alone: true }), mail);
  expect(suspect()).toBeUndefined();
  // Within this turn of the loop nobody can have answered yet.
  expect(two.free("virus").tasks).toBeGreaterThan(0);
  await vi.waitFor(() => expect(suspect()).toBeDefined());
  expect(two.free("virus").tasks).toBe(0);
  await vi.waitFor(() => expect(two.free("virus").tasks).toBeGreaterThan(0));
  expect(worker.state().dispatchers.every(({ grant }) => grant.tasks > 0)).toBe(true);
});

test("a mail of another size than its task says is the caller's bug", async () => {
  const { pool } = await openPool();
  expect(() => pool.place("virus", virusTask(mail, { size: 3 }), mail)).toThrow(RangeError);
});

test("two workers both get work, the one with more credit first", async () => {
  const { pool } = await openPool();
  const release = Promise.withResolvers<TaskOutput>();
  const held = createHandler({ handle: () => release.promise });
  openWorker(pool.endpoint, { handler: held, env: { ACTOR_ID: "virus-1" } });
  openWorker(pool.endpoint, { handler: held, env: { ACTOR_ID: "virus-2" } });
  await untilFree(pool, 16);
  const workers = Array.from({ length: 4 }, () => pool.place("virus", virusTask(mail), mail));
  expect(workers.map((placed) => placed?.workerId).toSorted()).toEqual([
    "virus-1",
    "virus-1",
    "virus-2",
    "virus-2",
  ]);
  release.resolve({ output: { kind: "clean" } });
});
