import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import { systemClock } from "@rs-agent/shared/clock.ts";
import { watchDatabase } from "@rs-agent/shared/health/database-part.ts";
import type { HealthPart } from "@rs-agent/shared/health/health-part.ts";
import { Metrics } from "@rs-agent/shared/health/metrics.ts";
import { serveHealth } from "@rs-agent/shared/health/serve-health.ts";
import { createSilentLogger } from "@rs-agent/shared/logger.ts";
import type { TaskOutput } from "@rs-agent/shared/worker/handler.ts";
import {
  startMongoDbProxy,
  type MongoDbProxy,
} from "../../../test/support/mongodb-proxy/mongodb-proxy.ts";
import { openBench, type Bench } from "./in-process.ts";
import { valueAt } from "../../../test/support/read-metrics.ts";
import { mongodbUri } from "../../../test/support/test-mongodb.ts";

let bench: Bench;
beforeEach(async () => {
  bench = await openBench();
});

/** A dispatcher of the bench with metrics, and its health on a port. */
async function dispatcher(env: Record<string, string> = {}, uri = mongodbUri()) {
  const metrics = new Metrics();
  const parts: HealthPart[] = [];
  const started = await bench.dispatcher(
    { WAITING_REFRESH_MS: "100", ...env },
    { uri, metrics, onDatabase: (its) => parts.push(watchDatabase(its, systemClock)) },
  );
  const listen = { host: "127.0.0.1", port: 0 };
  const log = createSilentLogger();
  const handle = await serveHealth(started, { listen, service: "dispatcher", parts, metrics, log });
  onTestFinished(() => handle.close());
  const address = handle.health ?? "";
  return {
    get: (path: string) => fetch(`http://${address}${path}`),
    value: (series: string) => valueAt(address, series),
  };
}

async function ready(ids: readonly string[]): Promise<void> {
  await vi.waitFor(async () => {
    const mails = await Promise.all(ids.map((id) => bench.get(id)));
    expect(mails.map(({ state }) => state)).toEqual(ids.map(() => "ready"));
  });
}

describe("while the database is away", () => {
  it.each([
    ["cut off", (proxy: MongoDbProxy) => proxy.cut()],
    ["silent", (proxy: MongoDbProxy) => proxy.silence()],
    ["without a primary", (proxy: MongoDbProxy) => proxy.stepDown()],
  ])("the dispatcher is alive and not ready: %s", async (_, fail) => {
    const proxy = await startMongoDbProxy(mongodbUri());
    onTestFinished(() => proxy.close());
    const options = "&serverSelectionTimeoutMS=1000&socketTimeoutMS=3000";
    const { get, value } = await dispatcher({}, `${proxy.uri}${options}`);
    expect((await get("/readyz")).status).toBe(200);
    await vi.waitFor(async () =>
      expect(await value('rs_agent_workers_wanted{kind="spam"}')).toBe(0),
    );
    fail(proxy);
    await vi.waitFor(async () => {
      const response = await get("/readyz");
      expect(response.status).toBe(503);
      expect(await response.json()).toMatchObject({
        ready: false,
        notReady: [
          { part: "database", reason: expect.stringMatching(/^no answer for \d+ s/) as string },
        ],
      });
    });
    expect((await get("/healthz")).status).toBe(200);
    // What was last known is still reported, with its age.
    expect(await value("rs_agent_ready")).toBe(0);
    expect(await value('rs_agent_workers_wanted{kind="spam"}')).toBe(0);
    expect(await value("rs_agent_waiting_counted_seconds")).toBeGreaterThan(2);
    proxy.restore();
    await vi.waitFor(async () => expect((await get("/readyz")).status).toBe(200));
  });
});

describe("after a known number of mails", () => {
  it("the counts are right", async () => {
    const { value } = await dispatcher();
    const infected = await bench.mail();
    bench.worker("virus", {
      handle: ({ mailId }) =>
        Promise.resolve<TaskOutput>({
          output: mailId === infected ? { kind: "infected", names: ["Eicar"] } : { kind: "clean" },
        }),
    });
    for (const kind of ["spam", "enrich"] as const) bench.worker(kind);
    const others = await Promise.all([1, 2, 3, 4].map(() => bench.mail()));
    await ready(others);
    await vi.waitFor(async () => {
      expect(await value('rs_agent_mails_finished_total{state="ready"}')).toBe(4);
      expect(await value('rs_agent_mails_finished_total{state="quarantined"}')).toBe(1);
    });
    expect(await value('rs_agent_tasks_total{kind="virus",result="clean"}')).toBe(4);
    expect(await value('rs_agent_tasks_total{kind="virus",result="infected"}')).toBe(1);
    expect(await value('rs_agent_tasks_total{kind="spam",result="ham"}')).toBe(4);
    expect(await value('rs_agent_tasks_total{kind="enrich",result="enriched"}')).toBe(4);
    expect(await value('rs_agent_task_service_seconds_count{kind="virus"}')).toBe(5);
    expect(await value('rs_agent_task_arrivals_total{kind="virus"}')).toBe(5);
    expect(await value('rs_agent_task_arrivals_total{kind="spam"}')).toBe(4);
    expect(await value('rs_agent_workers{kind="spam",state="able"}')).toBe(1);
    // Eight at once, and as many waiting in the worker.
    expect(await value('rs_agent_credit_granted_tasks{kind="virus"}')).toBe(16);
    expect(await value('rs_agent_credit_busy_tasks{kind="virus"}')).toBe(0);
    expect(await value("rs_agent_held_mails")).toBe(0);
    expect(await value('rs_agent_strikes_total{kind="virus"}')).toBe(0);
  });

  it("that wait for a worker, they are counted, and workers are wanted for them", async () => {
    const { value } = await dispatcher({ SCALE_CLEAR_MS: "1000" });
    await dispatcher();
    const begun = performance.now();
    const ids = await Promise.all([1, 2, 3, 4, 5].map(() => bench.mail()));
    await vi.waitFor(async () => {
      expect(await value('rs_agent_waiting_mails{task="virus"}')).toBe(5);
      expect(await value('rs_agent_workers_wanted{kind="virus"}')).toBe(1);
    });
    expect(await value('rs_agent_waiting_mails{task="spam"}')).toBe(0);
    expect(await value('rs_agent_workers_wanted{kind="spam"}')).toBe(0);
    const oldest = await value('rs_agent_waiting_oldest_seconds{task="virus"}');
    expect(oldest).toBeGreaterThan(0);
    expect(oldest).toBeLessThanOrEqual((performance.now() - begun) / 1_000 + 5);
    for (const kind of ["virus", "spam", "enrich"] as const) bench.worker(kind);
    await ready(ids);
    await vi.waitFor(async () => {
      expect(await value('rs_agent_waiting_mails{task="virus"}')).toBe(0);
      expect(await value('rs_agent_waiting_mails{task="relay"}')).toBe(5);
    });
  });

  it("a slow engine has more workers wanted, by each dispatcher the same", async () => {
    const both = [await dispatcher(), await dispatcher()];
    const waits = new Set<() => void>();
    let isSlow = true;
    onTestFinished(() => {
      for (const go of waits) go();
    });
    bench.worker("virus", {
      concurrency: 1,
      handle: async () => {
        // Three seconds for each mail, at one place.
        if (isSlow) {
          await new Promise<void>((resolve) => {
            waits.add(resolve);
            setTimeout(resolve, 3_000);
          });
        }
        return { output: { kind: "clean" } };
      },
    });
    const ids = await Promise.all(Array.from({ length: 12 }, () => bench.mail()));
    const begun = performance.now();
    // Twelve arrivals in less than half a minute, three seconds each, are more than one place can
    // do; so is one per second, if the report takes longer.
    await vi.waitFor(async () => {
      if (ids.length < 12 + (performance.now() - begun) / 1_000) ids.push(await bench.mail());
      for (const { value } of both) {
        expect(await value('rs_agent_workers_wanted{kind="virus"}')).toBeGreaterThan(1);
      }
    });
    isSlow = false;
    for (const go of waits) go();
    for (const kind of ["spam", "enrich"] as const) bench.worker(kind);
    await ready(ids);
  });
});

describe("a worker that dies over a mail", () => {
  it("is counted as lost, its task and the strike too", async () => {
    const { value } = await dispatcher();
    const begun = Promise.withResolvers<void>();
    const worker = bench.worker("virus", {
      handle: () => {
        begun.resolve();
        // Never answered: an answer that it got out in time would be no strike.
        return new Promise(() => undefined);
      },
    });
    await bench.mail();
    await begun.promise;
    await worker.close();
    await vi.waitFor(async () => {
      expect(await value('rs_agent_workers_gone_total{kind="virus",reason="disconnect"}')).toBe(1);
      expect(await value('rs_agent_tasks_total{kind="virus",result="lost-disconnect"}')).toBe(1);
      expect(await value('rs_agent_strikes_total{kind="virus"}')).toBe(1);
    });
  });
});
