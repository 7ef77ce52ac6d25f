import { createServer } from "node:net";
import { once } from "node:events";
import { expect, test, vi } from "vitest";
import { workerParts } from "../../src/worker/worker-health.ts";
import { createHandler, openPool, openWorker, untilFree, virusTask } from "./pool-and-worker.ts";
import {
  handshakeOf,
  linesLike,
  makeKeyFolder,
  openKeyedPool,
  openKeyedPush,
  openKeyedWorker,
} from "./keyed-actors.ts";

test("a task goes to a worker and its result comes back, both with keys", async () => {
  const folder = makeKeyFolder();
  const { pool, results } = await openKeyedPool(folder);
  openKeyedWorker(folder, pool.endpoint);
  await untilFree(pool);
  const mail = Buffer.from("mail\r\n");
  pool.place("virus", virusTask(mail), mail);
  await vi.waitFor(() => expect(results).toHaveLength(1));
  expect(pool.refused()).toBe(0);
});

test("a key that is not listed is refused and logged once, on both sides", async () => {
  const folder = makeKeyFolder();
  const { publicKey } = folder.make("stranger");
  const { pool, lines } = await openKeyedPool(folder);
  const stranger = openKeyedWorker(folder, pool.endpoint, "stranger");
  await vi.waitFor(() => expect(pool.refused()).toBeGreaterThan(2));
  const told = linesLike(lines, /peer refused: its key is not listed/);
  expect(told).toEqual([expect.objectContaining({ level: 40, publicKey, address: "127.0.0.1" })]);
  expect(linesLike(stranger.lines, /does not take this worker: it refuses our key/)).toHaveLength(
    1,
  );
  expect(linesLike(stranger.lines, /others will refuse us: its key is not listed/)).toHaveLength(1);
  const [bus] = workerParts(stranger.worker).filter(({ name }) => name === "bus");
  await vi.waitFor(() => expect(bus?.whyNot()).toContain("want the key of the other"));
  expect(pool.workers()).toEqual([]);
});

test("a listed key that plays another kind gets no session, and is told what it may act as", async () => {
  const folder = makeKeyFolder();
  const { pool, lines } = await openKeyedPool(folder);
  const worker = openKeyedWorker(folder, pool.endpoint, "enricher", { handler: createHandler() });
  const refused = /worker refused: its key is listed for enricher, not for av-worker/;
  await vi.waitFor(() => expect(linesLike(lines, refused)).toHaveLength(1));
  await vi.waitFor(() => expect(pool.dropped().unlisted).toBeGreaterThan(1));
  expect(linesLike(lines, refused)).toHaveLength(1);
  expect(pool.workers()).toEqual([]);
  const own = /others will refuse us: its key is listed for enricher/;
  expect(linesLike(worker.lines, own)).toHaveLength(1);
});

test("nobody gets in without keys if the mailbox has some, nor with keys if it has none", async () => {
  const folder = makeKeyFolder();
  const keyed = await openKeyedPool(folder);
  const plainWorker = openWorker(keyed.pool.endpoint);
  const plain = await openPool();
  const keyedWorker = openKeyedWorker(folder, plain.pool.endpoint);
  const text = /does not take this worker: one of us has keys and the other has none/;
  for (const { lines } of [plainWorker, keyedWorker]) {
    await vi.waitFor(() => expect(linesLike(lines, text)).toHaveLength(1));
  }
  for (const [{ lines }, told] of [
    [keyed, /peer refused: .*has no keys/],
    [plain, /peer refused: .*we have no keys/],
  ] as const) {
    await vi.waitFor(() => expect(linesLike(lines, told)).toHaveLength(1));
  }
  expect([...keyed.pool.workers(), ...plain.pool.workers()]).toEqual([]);
});

test("a worker does not talk to a dispatcher whose key is not the one in its list", async () => {
  const folder = makeKeyFolder();
  folder.make("impostor");
  const { pool, lines } = await openKeyedPool(folder, "impostor");
  const worker = openKeyedWorker(folder, pool.endpoint);
  const text = /does not take this worker: it holds another key than the one listed/;
  await vi.waitFor(() => expect(linesLike(worker.lines, text)).toHaveLength(1));
  await vi.waitFor(() => expect(pool.refused()).toBeGreaterThan(2));
  expect(linesLike(lines, /peer refused: it expects another key than ours here/)).toHaveLength(1);
  expect(pool.workers()).toEqual([]);
});

test("a revoked worker's session ends within seconds, its tasks go to others, and it stays out", async () => {
  const folder = makeKeyFolder();
  folder.list.push({
    name: "av-2",
    publicKey: folder.make("av-2").publicKey,
    kinds: ["av-worker"],
  });
  folder.write();
  const { pool, lost, lines } = await openKeyedPool(folder);
  const handler = createHandler({ handle: () => new Promise(() => undefined) });
  const old = openKeyedWorker(folder, pool.endpoint, "av-worker", { handler });
  await untilFree(pool);
  const mail = Buffer.from("mail\r\n");
  pool.place("virus", virusTask(mail), mail);
  openKeyedWorker(folder, pool.endpoint, "av-2", { env: { ACTOR_ID: "virus-2" } });
  await vi.waitFor(() => expect(pool.workers()).toHaveLength(2));

  const [entry] = folder.list.filter(({ name }) => name === "av-worker");
  if (entry !== undefined) entry.revoked = new Date().toISOString();
  folder.write();
  await vi.waitFor(() => expect(lost).toHaveLength(1));
  expect(lost).toEqual([expect.objectContaining({ workerId: "virus-1", reason: "revoked" })]);
  expect(linesLike(lines, /session ends: its key is revoked/)).toHaveLength(1);
  await vi.waitFor(() =>
    expect(linesLike(lines, /peer refused: its key is revoked/)).toHaveLength(1),
  );
  await vi.waitFor(() => expect(linesLike(old.lines, /it refuses our key/)).toHaveLength(1));
  expect(pool.workers().map(({ id }) => id)).toEqual(["virus-2"]);
});

test("a key that is added to the list gets in without any restart", async () => {
  const folder = makeKeyFolder();
  const { publicKey } = folder.make("late");
  const { pool } = await openKeyedPool(folder);
  openKeyedWorker(folder, pool.endpoint, "late");
  await vi.waitFor(() => expect(pool.refused()).toBeGreaterThan(0));
  folder.list.push({ name: "late", publicKey, kinds: ["av-worker"] });
  folder.write();
  await untilFree(pool);
});

test("a dispatcher's key is exchanged: both work while both are listed, then only the new one", async () => {
  const folder = makeKeyFolder();
  const { publicKey } = folder.make("dispatcher-2");
  folder.list.push({ name: "dispatcher-2", publicKey, kinds: ["dispatcher"] });
  folder.write();
  const before = await openKeyedPool(folder, "dispatcher");
  const after = await openKeyedPool(folder, "dispatcher-2", { actorId: "dispatcher-2" });
  const dispatchers = [before.pool.endpoint, after.pool.endpoint];
  const { worker, lines } = openKeyedWorker(folder, dispatchers);
  await Promise.all([untilFree(before.pool), untilFree(after.pool)]);

  const [entry] = folder.list.filter(({ name }) => name === "dispatcher");
  if (entry !== undefined) entry.revoked = new Date().toISOString();
  folder.write();
  await vi.waitFor(() => {
    expect(worker.state().dispatchers.map(({ mode }) => mode)).toEqual(["refused", "open"]);
  });
  expect(linesLike(lines, /dispatcher's key is revoked/)).toHaveLength(1);
  expect(after.pool.free("virus").tasks).toBeGreaterThan(0);
});

test("two dispatchers behind one name share a key, and the second is found when it comes", async () => {
  const folder = makeKeyFolder();
  const first = await openKeyedPool(folder, "dispatcher", { bind: "tcp://127.0.0.1:*" });
  const port = first.pool.endpoint.split(":").at(-1) ?? "";
  const addresses = ["127.0.0.1"];
  openKeyedWorker(folder, `tcp://dispatcher.test:${port}`, "av-worker", {
    lookup: () => Promise.resolve([...addresses]),
  });
  await untilFree(first.pool);
  const second = await openKeyedPool(folder, "dispatcher", {
    bind: `tcp://127.0.0.2:${port}`,
    actorId: "dispatcher-2",
  });
  addresses.push("127.0.0.2");
  await Promise.all([untilFree(first.pool), untilFree(second.pool)]);
});

test("a list that can no longer be read leaves the former one in force, and is reported", async () => {
  const folder = makeKeyFolder();
  const { pool, lines } = await openKeyedPool(folder);
  const { list } = folder;
  list.push({ name: "twice", publicKey: folder.keys.enricher.publicKey, kinds: ["av-worker"] });
  folder.write();
  const complaint = /allow list cannot be read again/;
  await vi.waitFor(() => expect(linesLike(lines, complaint)).toHaveLength(1));
  expect(linesLike(lines, complaint)[0]).toMatchObject({
    reason: expect.stringMatching(/allow\.yaml: .*is there twice/s) as string,
  });
  const { "av-worker": key, dispatcher } = folder.keys;
  const push = openKeyedPush(pool.endpoint, key, dispatcher.publicKey);
  expect(await handshakeOf(push)).toBe("accepted");
});

test("a mailbox that cannot be reached is named once on both sides", async () => {
  const nobody = createServer().listen(0, "127.0.0.1");
  await once(nobody, "listening");
  const { port } = nobody.address() as { port: number };
  nobody.close();
  const folder = makeKeyFolder();
  const { pool, lines } = await openKeyedPool(folder);
  const mailbox = `tcp://127.0.0.1:${String(port)}`;
  const env = { BUS_ADVERTISE: mailbox };
  const worker = openKeyedWorker(folder, pool.endpoint, "av-worker", { env });
  const text = /worker's mailbox: nobody can be reached there \(BUS_ADVERTISE/;
  await vi.waitFor(() => expect(linesLike(lines, text)).toHaveLength(1));
  expect(linesLike(lines, text)[0]).toMatchObject({ mailbox, worker: "virus-1" });
  const unanswered = /it cannot reach this mailbox, or refuses it/;
  await vi.waitFor(() => expect(linesLike(worker.lines, unanswered)).toHaveLength(1));
  await vi.waitFor(() => expect(pool.refused()).toBeGreaterThan(2));
  expect(linesLike(lines, text)).toHaveLength(1);
});
