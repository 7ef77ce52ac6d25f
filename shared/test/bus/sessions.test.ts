import { once } from "node:events";
import { expect, test, vi } from "vitest";
import { busTiming } from "../../src/bus/timing.ts";
import { createBusProtection } from "../../src/bus/protection.ts";
import type { TaskOutput } from "../../src/worker/handler.ts";
import {
  createHandler,
  fastTiming,
  openPool,
  openWorker,
  spawnWorker,
  untilFree,
  virusTask,
} from "./pool-and-worker.ts";

const mail = Buffer.from("Subject: hello\r\n\r\nbody\r\n");

function openHandler() {
  const release = Promise.withResolvers<TaskOutput>();
  const handler = createHandler({
    concurrency: () => 2,
    handle: (_task, _raw, { signal }) => {
      const { promise: aborted, reject } = Promise.withResolvers<TaskOutput>();
      signal.addEventListener("abort", () => reject(signal.reason as Error));
      return Promise.race([release.promise, aborted]);
    },
  });
  return { handler, answer: () => release.resolve({ output: { kind: "clean" } }) };
}

test("kill -9 of a worker: each of its tasks is lost once, and says whether work had begun", async () => {
  const { pool, lost } = await openPool({ timing: busTiming });
  const child = spawnWorker(pool.endpoint, "hold");
  await untilFree(pool, 4);
  const placed = Array.from({ length: 4 }, () => pool.place("virus", virusTask(mail), mail));
  await vi.waitFor(() => expect(pool.workers()[0]?.started).toBe(2));
  child.kill("SIGKILL");
  await once(child, "exit");
  await vi.waitFor(() => expect(lost).toHaveLength(4));
  expect(lost.map(({ taskId }) => taskId)).toEqual(placed.map((each) => each?.taskId));
  expect(new Set(lost.map(({ reason }) => reason))).toEqual(new Set(["disconnect"]));
  expect(lost.map(({ started }) => started)).toEqual([true, true, false, false]);
  expect(pool.workers()).toEqual([]);
});

test("a worker whose event loop hangs gets no new task after 3 s, and is back when it wakes", async () => {
  const { pool, results, lost } = await openPool({ timing: busTiming });
  spawnWorker(pool.endpoint, "hang");
  await untilFree(pool, 4);
  pool.place("virus", virusTask(mail), mail);
  await vi.waitFor(() => expect(pool.workers()[0]?.state).toBe("silent"));
  expect(pool.workers()[0]).toMatchObject({ started: 1 });
  expect(pool.workers()[0]?.heardAgoMs).toBeGreaterThanOrEqual(3_000);
  expect(pool.free("virus")).toEqual({ tasks: 0, bytes: 0 });
  expect(pool.place("virus", virusTask(mail), mail)).toBeUndefined();
  await vi.waitFor(() => expect(results).toHaveLength(1));
  await untilFree(pool, 4);
  expect(lost).toEqual([]);
});

test("a worker that stays silent ends, and its tasks go to others", async () => {
  const { pool, lost } = await openPool();
  const child = spawnWorker(pool.endpoint, "hold");
  await untilFree(pool, 4);
  pool.place("virus", virusTask(mail), mail);
  child.kill("SIGSTOP");
  await vi.waitFor(() => expect(lost).toHaveLength(1));
  expect(lost[0]?.reason).toBe("silent");
  child.kill("SIGCONT");
  await untilFree(pool, 4);
});

test("a worker that announces synchronous work keeps its session through it", async () => {
  const { pool, results, lost } = await openPool({ timing: { ...busTiming, deadMs: 3_000 } });
  spawnWorker(pool.endpoint, "busy");
  await untilFree(pool, 4);
  pool.place("virus", virusTask(mail), mail);
  await vi.waitFor(() => expect(results).toHaveLength(1));
  expect(lost).toEqual([]);
});

test("after a dispatcher's restart its workers are back within 2 s", async () => {
  const first = await openPool();
  const { handler } = openHandler();
  const aborted = vi.fn();
  openWorker(first.pool.endpoint, {
    timing: busTiming,
    handler: {
      ...handler,
      handle: (task, raw, context) => {
        context.signal.addEventListener("abort", aborted);
        return handler.handle(task, raw, context);
      },
    },
  });
  await untilFree(first.pool, 4);
  first.pool.place("virus", virusTask(mail), mail);
  const { endpoint } = first.pool;
  await vi.waitFor(() => expect(first.pool.workers()[0]?.started).toBe(1));
  await first.pool.close();
  const second = await vi.waitFor(() => openPool({ bind: endpoint }));
  await untilFree(second.pool, 4);
  expect(aborted).toHaveBeenCalledOnce();
});

test("a second ready replaces the session, and the old one's tasks are lost to others", async () => {
  const { pool, lost, results } = await openPool();
  const old = openHandler();
  const { worker } = openWorker(pool.endpoint, { handler: old.handler });
  await untilFree(pool, 4);
  pool.place("virus", virusTask(mail), mail);
  await vi.waitFor(() => expect(pool.workers()[0]?.outstanding.tasks).toBe(1));
  const before = pool.workers()[0]?.incarnation;
  openWorker(pool.endpoint, { handler: createHandler() });
  await vi.waitFor(() => expect(lost).toHaveLength(1));
  expect(lost[0]?.reason).toBe("replaced");
  expect(pool.workers()).toHaveLength(1);
  expect(pool.workers()[0]?.incarnation).not.toBe(before);
  old.answer();
  await worker.close();
  await untilFree(pool, 4);
  pool.place("virus", virusTask(mail), mail);
  await vi.waitFor(() => expect(results).toHaveLength(1));
});

test("a worker that drains finishes what it has and loses nothing", async () => {
  const { pool, lost, results, lines } = await openPool();
  const { handler, answer } = openHandler();
  const { worker } = openWorker(pool.endpoint, { handler });
  await untilFree(pool, 4);
  for (let task = 0; task < 4; task += 1) pool.place("virus", virusTask(mail), mail);
  const drained = worker.drain();
  await vi.waitFor(() => expect(pool.workers()[0]?.state).toBe("leaving"));
  expect(pool.place("virus", virusTask(mail), mail)).toBeUndefined();
  answer();
  await drained;
  await worker.done;
  expect([results.length, lost.length]).toEqual([4, 0]);
  expect(pool.workers()).toEqual([]);
  expect(lines).toContainEqual(expect.objectContaining({ msg: "worker has left", reason: "bye" }));
});

test("a drain that is cut short leaves its tasks to others", async () => {
  const { pool, lost } = await openPool();
  const { worker } = openWorker(pool.endpoint, { handler: openHandler().handler });
  await untilFree(pool, 4);
  pool.place("virus", virusTask(mail), mail);
  await worker.drain(AbortSignal.timeout(100));
  await vi.waitFor(() => expect(lost).toHaveLength(1));
  expect(["bye", "disconnect"]).toContain(lost[0]?.reason);
});

test("a pool that drains awaits what is out, and its worker waits for the next dispatcher", async () => {
  const { pool, results, lost } = await openPool();
  const { handler, answer } = openHandler();
  const { worker } = openWorker(pool.endpoint, { handler });
  await untilFree(pool, 4);
  pool.place("virus", virusTask(mail), mail);
  const drained = pool.drain();
  expect(pool.place("virus", virusTask(mail), mail)).toBeUndefined();
  answer();
  await drained;
  expect([results.length, lost.length]).toEqual([1, 0]);
  await vi.waitFor(() => expect(worker.state().dispatchers[0]?.mode).not.toBe("open"));
});

test("a worker whose canary fails grants nothing and says why, until it passes", async () => {
  const { pool } = await openPool();
  let able = false;
  const { worker } = openWorker(pool.endpoint, {
    env: { CANARY_INTERVAL_MS: "100" },
    handler: createHandler({
      canary: () => Promise.resolve(able ? { able } : { able, reason: "EICAR was called clean" }),
    }),
  });
  await vi.waitFor(() => expect(pool.workers()[0]?.unable).toBe("EICAR was called clean"));
  expect(pool.free("virus").tasks).toBe(0);
  able = true;
  await worker.ready;
  await untilFree(pool, 8);
  expect(pool.workers()[0]?.unable).toBeUndefined();
});

test("a worker that nobody answers says which dispatcher cannot reach which mailbox", async () => {
  const { pool } = await openPool({
    protection: { ...createBusProtection(undefined), allows: () => false },
  });
  const { worker, lines } = openWorker(pool.endpoint);
  await vi.waitFor(() =>
    expect(lines).toContainEqual(
      expect.objectContaining({
        level: 40,
        dispatcher: pool.endpoint,
        mailbox: worker.mailbox,
        msg: expect.stringMatching(/cannot reach this mailbox/) as string,
      }),
    ),
  );
  expect(pool.dropped().unprotected).toBeGreaterThan(0);
});

test("two dispatchers share a worker's credit, and the busy one gets most of it", async () => {
  const [first, second] = [await openPool(), await openPool({ actorId: "dispatcher-2" })];
  const { handler } = openHandler();
  openWorker([first.pool.endpoint, second.pool.endpoint], {
    handler: { ...handler, concurrency: () => 4 },
  });
  await untilFree(first.pool, 4);
  await untilFree(second.pool, 4);
  expect(first.pool.free("virus").tasks + second.pool.free("virus").tasks).toBe(8);
  first.pool.place("virus", virusTask(mail), mail);
  await vi.waitFor(() => {
    expect(first.pool.workers()[0]?.grant.tasks).toBe(7);
    expect(second.pool.workers()[0]?.grant.tasks).toBe(1);
  });
});

test("two addresses of one dispatcher make one session", async () => {
  const { pool } = await openPool();
  const port = pool.endpoint.split(":").at(-1) ?? "";
  const { worker } = openWorker(`tcp://dispatcher.test:${port}`, {
    lookup: () => Promise.resolve(["127.0.0.1", "::ffff:127.0.0.1"]),
  });
  const modes = () => worker.state().dispatchers.map(({ mode }) => mode);
  await vi.waitFor(() => expect(modes().toSorted()).toEqual(["duplicate", "open"]));
  // The pool notices the end of the duplicate's session by its connection, a moment later.
  await vi.waitFor(() => expect(pool.workers()).toHaveLength(1));
});

test("a dispatcher that a name comes to stand for later is found", async () => {
  const [first, second] = [await openPool(), await openPool({ actorId: "dispatcher-2" })];
  const known = [first.pool.endpoint];
  const port = (endpoint: string) => endpoint.split(":").at(-1) ?? "";
  openWorker(
    [`tcp://one.test:${port(first.pool.endpoint)}`, `tcp://two.test:${port(second.pool.endpoint)}`],
    {
      lookup: (name) =>
        name === "one.test" || known.length > 1
          ? Promise.resolve(["127.0.0.1"])
          : Promise.reject(new Error("ENOTFOUND")),
    },
  );
  await untilFree(first.pool);
  expect(second.pool.workers()).toEqual([]);
  known.push(second.pool.endpoint);
  await untilFree(second.pool);
});

test.each([
  ["a newer worker and an older dispatcher", [2, 1], [1]],
  ["an older worker and a newer dispatcher", [1], [2, 1]],
  ["two newer ones", [2, 1], [2, 1]],
])("%s speak their highest common version", async (_, worker, dispatcher) => {
  const { pool, results } = await openPool({ versions: dispatcher });
  openWorker(pool.endpoint, { versions: worker });
  await untilFree(pool);
  pool.place("virus", virusTask(mail), mail);
  await vi.waitFor(() => expect(results).toHaveLength(1));
  const common = Math.max(...worker.filter((version) => dispatcher.includes(version)));
  expect(results[0]?.head.v).toBe(common);
});

test("a worker without a common version is refused and counted, not misread", async () => {
  const { pool } = await openPool({ versions: [1] });
  openWorker(pool.endpoint, { versions: [3, 2] });
  await vi.waitFor(() => expect(pool.dropped().version).toBeGreaterThan(0));
  expect(pool.workers()).toEqual([]);
});

test("a dispatcher that itself stood still blames no worker", async () => {
  let jumpMs = 0;
  const clock = { now: () => new Date(), monotonicMs: () => performance.now() + jumpMs };
  const { pool, lost } = await openPool({ clock });
  openWorker(pool.endpoint, { handler: openHandler().handler });
  await untilFree(pool, 4);
  pool.place("virus", virusTask(mail), mail);
  jumpMs = 2 * fastTiming.deadMs;
  await untilFree(pool, 3);
  expect(lost).toEqual([]);
});
