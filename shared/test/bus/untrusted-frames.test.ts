import fc from "fast-check";
import { Pull, Push } from "zeromq";
import { expect, onTestFinished, test, vi } from "vitest";
import { decodeMessage, encodeMessages, type OutgoingHead } from "../../src/bus/codec.ts";
import type { DropCause } from "../../src/bus/drop-counter.ts";
import { newMailId, newToken } from "../../src/ids.ts";
import { createHandler, openPool, openWorker, untilFree, virusTask } from "./pool-and-worker.ts";
import { vectorHeads } from "./wire-vectors.ts";

const mail = Buffer.from("Subject: hello\r\n\r\nbody\r\n");

/** A peer that speaks the wire by hand: it sends what it likes and sees what comes. */
async function openPeer(endpoint: string) {
  const push = new Push({ linger: 0, immediate: true });
  const pull = new Pull({ linger: 0 });
  await pull.bind("tcp://127.0.0.1:*");
  push.connect(endpoint);
  onTestFinished(() => {
    push.close();
    pull.close();
  });
  const heads: Record<string, unknown>[] = [];
  return {
    mailbox: pull.lastEndpoint ?? "",
    send: (head: OutgoingHead, body?: Buffer) =>
      push.send(encodeMessages([{ head, body }])[0] ?? []),
    sendFrames: (frames: Buffer[]) => push.send(frames),
    /** The next head of this kind that arrives. */
    async next(kind: string): Promise<Record<string, unknown>> {
      for (;;) {
        const place = heads.findIndex((head) => head["kind"] === kind);
        const [found] = place < 0 ? [] : heads.splice(place, 1);
        if (found !== undefined) return found;
        decodeMessage(
          await pull.receive(),
          [1],
          ({ head }) => heads.push(head),
          (cause) => expect.fail(cause),
        );
      }
    },
  };
}

/** A worker by hand that has been given one task. */
async function openForgedWorker(deps: Parameters<typeof openPool>[0] = {}) {
  const observed = await openPool(deps);
  const peer = await openPeer(observed.pool.endpoint);
  await peer.send({ ...vectorHeads.ready, mailbox: peer.mailbox });
  const { session } = await peer.next("heartbeat");
  const own = { v: 1, from: "virus-1", session };
  const credit = { tasks: 4, bytes: 1_000_000 };
  const incarnation = vectorHeads.ready.incarnation;
  const beat = (parts: OutgoingHead = {}) =>
    peer.send({ ...own, kind: "heartbeat", incarnation, credit, ...parts });
  await beat();
  await untilFree(observed.pool, 4);
  observed.pool.place("virus", virusTask(mail), mail);
  const task = await peer.next("task");
  const result = {
    ...own,
    kind: "result",
    taskId: task["taskId"],
    mailId: task["mailId"],
    sha256: task["sha256"],
    settingsHash: task["settingsHash"],
    task: "virus",
    queueMs: 1,
    workMs: 1,
    output: { kind: "clean" },
  };
  return { ...observed, peer, own, task, result, beat };
}

async function untilDropped(source: { dropped(): Record<DropCause, number> }, cause: DropCause) {
  await vi.waitFor(() => expect(source.dropped()[cause]).toBeGreaterThan(0));
}

test("a result counts once: its duplicate is dropped and counted (I4)", async () => {
  const { pool, peer, result, results } = await openForgedWorker();
  await peer.send(result);
  await peer.send(result);
  await untilDropped(pool, "task");
  expect(results).toHaveLength(1);
});

test.each<[string, DropCause, Record<string, unknown>]>([
  ["names a task that was never sent", "task", { taskId: newToken() }],
  ["echoes another mail", "mismatch", { mailId: "another" }],
  ["echoes another kind", "mismatch", { task: "spam" }],
  ["echoes another SHA-256", "mismatch", { sha256: "00".repeat(32) }],
  ["echoes other settings", "mismatch", { settingsHash: "00".repeat(16) }],
  ["is of another session", "session", { session: newToken() }],
  ["comes from another worker", "session", { from: "virus-2" }],
  ["speaks another version", "version", { v: 2 }],
  ["has an output that no worker has", "schema", { output: { kind: "fine" } }],
  ["has an infinite duration", "schema", { workMs: Infinity }],
  ["has no output", "schema", { output: undefined }],
  ["is of no known kind", "kind", { kind: "verdict" }],
])("a result that %s is dropped and counted as %s (I4, I9)", async (_, cause, parts) => {
  const { pool, peer, result, results } = await openForgedWorker();
  await peer.send({ ...result, ...parts });
  await untilDropped(pool, cause);
  expect(results).toEqual([]);
  await peer.send(result);
  await vi.waitFor(() => expect(results).toHaveLength(1));
});

test("a clean result with bytes, and an enriched one without, are dropped (I9)", async () => {
  const { pool, peer, result, results } = await openForgedWorker();
  await peer.send({ ...result, bytes: mail.length }, mail);
  await untilDropped(pool, "schema");
  expect(results).toEqual([]);
});

test("a result that comes after its task was given up is dropped and counted as late", async () => {
  const { pool, peer, result, results, lost } = await openForgedWorker();
  const { taskId } = result;
  pool.cancel(String(taskId));
  expect(await peer.next("cancel")).toMatchObject({ taskId });
  await peer.send(result);
  await untilDropped(pool, "late");
  expect([results, lost]).toEqual([[], []]);
  await untilFree(pool, 4);
});

test("a task without an answer is cancelled after its deadline, lost once, and still counts", async () => {
  const { pool, peer, lost, result } = await openForgedWorker();
  pool.place("virus", virusTask(mail, { mailId: result.mailId as string, deadlineMs: 1 }), mail);
  const short = await peer.next("task");
  await vi.waitFor(() => expect(lost).toHaveLength(1));
  expect(lost[0]).toMatchObject({ reason: "deadline", started: false, taskId: short["taskId"] });
  expect(await peer.next("cancel")).toMatchObject({ taskId: short["taskId"] });
  expect(pool.free("virus").tasks).toBe(2);
  await peer.send({ ...result, taskId: short["taskId"] });
  await untilDropped(pool, "late");
  expect(pool.free("virus").tasks).toBe(3);
});

test("a task that the worker skipped is lost, so that no credit leaks", async () => {
  const { pool, beat, lost } = await openForgedWorker();
  expect(pool.free("virus").tasks).toBe(3);
  await beat({ lastSeen: 1, lastDone: 1 });
  await vi.waitFor(() => expect(lost).toHaveLength(1));
  expect(lost[0]).toMatchObject({ reason: "uncertain", started: false });
  expect(pool.free("virus").tasks).toBe(4);
});

test("a worker that says until when it is busy is not given up earlier", async () => {
  const { pool, beat, lost } = await openForgedWorker();
  const untilMs = Date.now() + 3_000;
  await beat({ busyUntil: untilMs });
  await vi.waitFor(() => expect(pool.workers()[0]?.state).toBe("silent"));
  await vi.waitFor(() => expect(lost).toHaveLength(1));
  expect(lost[0]?.reason).toBe("silent");
  expect(Date.now()).toBeGreaterThan(untilMs);
});

test.each(["tcp://0.0.0.0:5", "tcp://mx.example.org:5", "tcp://127.0.0.1:*", "ipc:///tmp/x", "x"])(
  "a ready that advertises %s opens nothing",
  async (mailbox) => {
    const { pool } = await openPool();
    const peer = await openPeer(pool.endpoint);
    await peer.send({ ...vectorHeads.ready, mailbox });
    await untilDropped(pool, "schema");
    expect(pool.workers()).toEqual([]);
  },
);

test("a ready that advertises an address beyond this host opens nothing without protection", async () => {
  const { pool } = await openPool();
  const peer = await openPeer(pool.endpoint);
  await peer.send({ ...vectorHeads.ready, mailbox: "tcp://192.0.2.1:5" });
  await untilDropped(pool, "unprotected");
  expect(pool.workers()).toEqual([]);
});

test("there are never more sessions than allowed (I7)", async () => {
  const { pool } = await openPool({ maxWorkers: 2 });
  const peer = await openPeer(pool.endpoint);
  for (const from of ["a", "b", "c"]) {
    await peer.send({ ...vectorHeads.ready, from, mailbox: peer.mailbox });
  }
  await untilDropped(pool, "full");
  expect(pool.workers().map(({ id }) => id)).toEqual(["a", "b"]);
});

test("a peer that sends a frame above the limit is cut off, and the pool goes on", async () => {
  const { pool, results } = await openPool({ maxMailBytes: 1_000 });
  const peer = await openPeer(pool.endpoint);
  await peer.sendFrames([Buffer.alloc(10_000_000)]);
  openWorker(pool.endpoint);
  await untilFree(pool);
  pool.place("virus", virusTask(mail), mail);
  await vi.waitFor(() => expect(results).toHaveLength(1));
  expect(Object.values(pool.dropped()).every((count) => count === 0)).toBe(true);
});

test("nothing that a stranger sends stops a pool at work; all of it is counted (I9)", async () => {
  const { pool, results } = await openPool();
  openWorker(pool.endpoint);
  await untilFree(pool);
  const peer = await openPeer(pool.endpoint);
  const field = fc.oneof(fc.string(), fc.integer(), fc.double(), fc.boolean(), fc.constant(null));
  const kind = fc.constantFrom("ready", "heartbeat", "task", "started", "result", "bye", "cancel");
  const forged = fc.dictionary(fc.string(), fc.oneof(field, fc.array(field)));
  const message = fc.oneof(
    fc.tuple(kind, forged).map(([name, rest]) => ({ ...vectorHeads.result, ...rest, kind: name })),
    fc.uint8Array({ maxLength: 500 }),
  );
  const sent = fc.sample(message, 500);
  for (const one of sent) {
    if (one instanceof Uint8Array) await peer.sendFrames([Buffer.from(one)]);
    else await peer.send(one);
  }
  await vi.waitFor(() => {
    const counts = Object.values(pool.dropped());
    expect(counts.reduce((sum, count) => sum + count, 0)).toBe(sent.length);
  });
  expect(pool.workers().map(({ id }) => id)).toEqual(["virus-1"]);
  pool.place("virus", virusTask(mail), mail);
  await vi.waitFor(() => expect(results).toHaveLength(1));
});

/** A dispatcher by hand, with a worker's session open and its grant of 8 tasks. */
async function openForgedDispatcher() {
  const pull = new Pull({ linger: 0 });
  await pull.bind("tcp://127.0.0.1:*");
  onTestFinished(() => pull.close());
  const handled: string[] = [];
  const { worker } = openWorker(pull.lastEndpoint ?? "", {
    handler: createHandler({
      handle: (task) => {
        handled.push(task.taskId);
        return new Promise(() => undefined);
      },
    }),
  });
  const peer = await openPeer(worker.mailbox);
  const heads: Record<string, unknown>[] = [];
  const next = async (kind: string) => {
    for (;;) {
      const found = heads.shift();
      if (found?.["kind"] === kind) return found;
      if (found !== undefined) continue;
      const collect = ({ head }: { head: Record<string, unknown> }) => heads.push(head);
      decodeMessage(await pull.receive(), [1], collect, (cause) => expect.fail(cause));
    }
  };
  const { link } = await next("ready");
  const own = { v: 1, from: "dispatcher-1", session: newToken() };
  const incarnation = newToken();
  const beat = () => peer.send({ ...own, kind: "heartbeat", incarnation, link });
  await beat();
  const { credit } = await next("heartbeat");
  expect(credit).toMatchObject({ tasks: 8 });
  const task = (sequence: number, parts: OutgoingHead = {}) => ({
    ...vectorHeads.task,
    ...own,
    taskId: newToken(),
    sequence,
    size: mail.length,
    bytes: mail.length,
    ...parts,
  });
  return { worker, peer, own, beat, next, task, handled };
}

test.each<[string, DropCause, Record<string, unknown>]>([
  ["of another session", "session", { session: newToken() }],
  ["from another dispatcher", "session", { from: "dispatcher-2" }],
  ["of another version", "version", { v: 2 }],
  ["of another kind of worker", "schema", { task: "spam" }],
  ["whose size is not that of its mail", "schema", { size: 3 }],
  ["with a sequence number seen before", "sequence", { sequence: 1 }],
])("a worker drops and counts a task %s (I9)", async (_, cause, parts) => {
  const { worker, peer, task, handled } = await openForgedDispatcher();
  const first = task(1);
  await peer.send(first, mail);
  await peer.send(task(2, parts), mail);
  await untilDropped(worker, cause);
  expect(handled).toEqual([first.taskId]);
});

test("a worker drops and counts tasks beyond the credit that it granted (I7)", async () => {
  const { worker, peer, beat, next, task } = await openForgedDispatcher();
  for (let sequence = 1; sequence <= 10; sequence += 1) {
    // A second task of the same mail would be refused, and its credit would be free again.
    await peer.send(task(sequence, { mailId: newMailId() }), mail);
  }
  await vi.waitFor(async () => {
    await beat();
    expect(worker.dropped().credit).toBe(2);
  });
  await vi.waitFor(async () => expect(await next("heartbeat")).toMatchObject({ lastSeen: 10 }));
});

test("a heartbeat that echoes no ready of ours opens no session", async () => {
  const { worker, peer, own } = await openForgedDispatcher();
  await peer.send({ ...own, kind: "heartbeat", incarnation: newToken(), session: newToken() });
  await untilDropped(worker, "session");
});

test("a task that cannot be read is skipped, so that its dispatcher learns of it", async () => {
  const { peer, next, task } = await openForgedDispatcher();
  await peer.send(task(1, { deadlineMs: -1 }), mail);
  await vi.waitFor(async () =>
    expect(await next("heartbeat")).toMatchObject({ lastSeen: 1, lastDone: 1 }),
  );
});
