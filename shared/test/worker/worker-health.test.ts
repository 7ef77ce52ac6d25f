import { expect, test, vi } from "vitest";
import { Metrics } from "../../src/health/metrics.ts";
import { readinessOf } from "../../src/health/health-server.ts";
import { workerParts } from "../../src/worker/worker-health.ts";
import type { WorkerHandle } from "../../src/worker/worker.ts";
import {
  createHandler,
  openPool,
  openWorker,
  untilFree,
  virusTask,
} from "../bus/pool-and-worker.ts";

function notReady(worker: WorkerHandle) {
  return readinessOf({ service: "av-worker", parts: workerParts(worker) }).notReady;
}

test("a worker is ready with an able engine and a dispatcher, and not while the engine is away", async () => {
  const { pool } = await openPool();
  let isAway = false;
  const { worker } = openWorker(pool.endpoint, {
    env: { CANARY_INTERVAL_MS: "100" },
    handler: createHandler({
      canary: () =>
        Promise.resolve(isAway ? { able: false, reason: "clamd: ECONNREFUSED" } : { able: true }),
    }),
  });
  expect(notReady(worker).map(({ part }) => part)).toEqual(["engine", "bus"]);
  await vi.waitFor(() => expect(notReady(worker)).toEqual([]));
  isAway = true;
  await vi.waitFor(() =>
    expect(notReady(worker)).toEqual([{ part: "engine", reason: "clamd: ECONNREFUSED" }]),
  );
  isAway = false;
  await vi.waitFor(() => expect(notReady(worker)).toEqual([]));
});

test("a worker says which dispatcher it cannot reach, ready or not", async () => {
  const nobody = "tcp://127.0.0.1:1";
  const reason = `${nobody} cannot be reached from here`;
  const { worker: alone } = openWorker(nobody);
  await vi.waitFor(() => expect(notReady(alone)).toEqual([{ part: "bus", reason }]));
  const { pool } = await openPool();
  const { worker } = openWorker([nobody, pool.endpoint], { env: { ACTOR_ID: "virus-2" } });
  await vi.waitFor(() => expect(notReady(worker)).toEqual([]));
  const { warnings } = readinessOf({ service: "av-worker", parts: workerParts(worker) });
  expect(warnings).toEqual([{ part: "bus", reason }]);
});

test("a worker says which dispatcher cannot reach which of its mailbox addresses", async () => {
  const { pool } = await openPool();
  const mailbox = "tcp://127.0.0.1:1";
  const { worker } = openWorker(pool.endpoint, { env: { BUS_ADVERTISE: mailbox } });
  const reason = `${pool.endpoint} has not answered: it cannot reach this mailbox, ${mailbox}, or refuses it`;
  await vi.waitFor(() => expect(notReady(worker)).toEqual([{ part: "bus", reason }]));
});

test("a worker counts its answers and shows what it has in hand", async () => {
  const { pool, results } = await openPool();
  const metrics = new Metrics();
  const go = Promise.withResolvers<undefined>();
  openWorker(pool.endpoint, {
    metrics,
    handler: createHandler({
      handle: async ({ mailId }) => {
        await go.promise;
        if (mailId === "bad") throw new Error("broken engine");
        return { output: { kind: "clean" } };
      },
    }),
  });
  await untilFree(pool, 3);
  const mail = Buffer.from("Subject: hello\r\n\r\nbody\r\n");
  for (const mailId of ["a", "b", "bad"]) pool.place("virus", virusTask(mail, { mailId }), mail);
  const of = 'kind="virus"';
  await vi.waitFor(async () =>
    expect(await metrics.text()).toContain(`rs_agent_worker_tasks{${of}} 3\n`),
  );
  go.resolve(undefined);
  await vi.waitFor(() => expect(results).toHaveLength(2));
  await vi.waitFor(async () => {
    const text = await metrics.text();
    for (const line of [
      `rs_agent_worker_answers_total{${of},result="clean"} 2`,
      `rs_agent_worker_answers_total{${of},result="failed"} 1`,
      `rs_agent_worker_tasks{${of}} 0`,
      `rs_agent_worker_places{${of}} 4`,
      `rs_agent_worker_sessions{${of}} 1`,
      `rs_agent_engine_able{${of}} 1`,
      'rs_agent_bus_frames_dropped_total{cause="late"} 0',
      "rs_agent_bus_peers_refused_total 0",
    ]) {
      expect(text).toContain(`${line}\n`);
    }
  });
});
