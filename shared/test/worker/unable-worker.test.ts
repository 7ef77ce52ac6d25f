import { expect, test, vi } from "vitest";
import type { TaskOutput } from "../../src/worker/handler.ts";
import {
  createHandler,
  openPool,
  openWorker,
  untilFree,
  virusTask,
} from "../bus/pool-and-worker.ts";

const mail = Buffer.from("Subject: hello\r\n\r\nbody\r\n");

test("a worker whose engine goes away answers what it has, and takes nothing new", async () => {
  const { pool, results } = await openPool();
  const first = Promise.withResolvers<TaskOutput>();
  let engines = 1;
  openWorker(pool.endpoint, {
    handler: createHandler({
      concurrency: () => engines,
      handle: ({ mailId }) =>
        mailId === "first"
          ? first.promise
          : Promise.resolve({ output: { kind: "unchecked", reason: "engine-away" } }),
    }),
  });
  await untilFree(pool, 2);
  pool.place("virus", virusTask(mail, { mailId: "first" }), mail);
  pool.place("virus", virusTask(mail, { mailId: "second" }), mail);
  await vi.waitFor(() => expect(pool.free("virus").tasks).toBe(0));
  engines = 0;
  first.resolve({ output: { kind: "clean" } });
  await vi.waitFor(() =>
    expect(results.map(({ task, head }) => [task.mailId, head.output.kind])).toEqual([
      ["first", "clean"],
      ["second", "unchecked"],
    ]),
  );
  await vi.waitFor(() => expect(pool.workers()[0]?.unable).toBe("no engine takes work"));
  expect(pool.free("virus").tasks).toBe(0);
});
