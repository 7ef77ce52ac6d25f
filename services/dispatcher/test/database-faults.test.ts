import { pino } from "pino";
import { beforeEach, describe, expect, it, onTestFinished, vi } from "vitest";
import type { Logger } from "@rs-agent/shared/logger.ts";
import type { TaskKind } from "@rs-agent/shared/checks/verdict.ts";
import type { Fault } from "../../../test/support/mongodb-proxy/fault.ts";
import {
  startMongoDbProxy,
  type MongoDbProxy,
} from "../../../test/support/mongodb-proxy/mongodb-proxy.ts";
import { answers } from "./answers.ts";
import { openBench, plainMail, type Bench } from "./in-process.ts";
import { mongodbUri } from "../../../test/support/test-mongodb.ts";

let proxy: MongoDbProxy;
let bench: Bench;
beforeEach(async () => {
  proxy = await startMongoDbProxy(mongodbUri());
  // Registered first, so that it ends after everything that runs behind it.
  onTestFinished(() => proxy.close());
  bench = await openBench();
});

const dispatcher = (env: Record<string, string> = {}, log?: Logger) =>
  bench.dispatcher(env, {
    uri: `${proxy.uri}&serverSelectionTimeoutMS=1000`,
    ...(log === undefined ? {} : { log }),
  });

function workers(...kinds: TaskKind[]): void {
  for (const kind of kinds) bench.worker(kind);
}

function ready(ids: readonly string[]): Promise<void> {
  return vi.waitFor(async () => {
    const mails = await Promise.all(ids.map((id) => bench.get(id)));
    expect(mails.map(({ state }) => state)).toEqual(ids.map(() => "ready"));
  });
}

/** Each check of each mail was asked for once, so nothing that was known was forgotten. */
function expectAskedOnce(ids: readonly string[]): void {
  const expected = ids.flatMap((id) => [`virus ${id}`, `spam ${id}`, `enrich ${id}`]);
  expect(bench.asked.toSorted()).toEqual(expected.toSorted());
}

describe("what a worker has found while the database is away", () => {
  it.each([
    ["cut off", (its: MongoDbProxy) => its.cut()],
    ["without a primary", (its: MongoDbProxy) => its.stepDown()],
  ])("is kept and written when it is back: %s", async (_, fail) => {
    const said: string[] = [];
    const write = (line: string) => void said.push((JSON.parse(line) as { msg: string }).msg);
    await dispatcher({}, pino({ level: "info" }, { write }));
    const found = Promise.withResolvers<undefined>();
    const answer = Promise.withResolvers<undefined>();
    bench.worker("virus", {
      handle: async () => {
        found.resolve(undefined);
        await answer.promise;
        return answers.virus;
      },
    });
    workers("spam", "enrich");
    const ids = await Promise.all([bench.mail(), bench.mail(), bench.mail()]);
    await found.promise;
    await vi.waitFor(() => expect(bench.asked).toHaveLength(3));
    const { claims } = await bench.get(ids[0]);
    fail(proxy);
    answer.resolve(undefined);
    await vi.waitFor(() => expect(bench.asked).toHaveLength(9));
    // The mails are done here, and no first try could write any of it.
    await vi.waitFor(() => expect(said).toContain("the database is away, mail waits"));
    expect((await bench.get(ids[0])).state).not.toBe("ready");
    proxy.restore();
    await ready(ids);
    expectAskedOnce(ids);
    expect((await bench.get(ids[0])).claims).toBe(claims);
    await vi.waitFor(() => {
      const ofPresence = said.filter((line) => line.startsWith("the database is"));
      expect(ofPresence).toEqual(["the database is away, mail waits", "the database is back"]);
    });
  });
});

const onWrites: [string, Fault, number][] = [
  ["NotWritablePrimary", { kind: "error", error: "notWritablePrimary" }, 2],
  ["PrimarySteppedDown", { kind: "error", error: "primarySteppedDown" }, 2],
  ["a write-concern error on writes that matched", { kind: "write concern", error: "timeout" }, 2],
  ["replies that are lost", { kind: "lose reply", close: true }, 2],
  ["replies that come late", { kind: "delay", ms: 1_500 }, 2],
];

it.each(onWrites)(
  "checks each mail once, and passes all of them on: %s",
  async (_, fault, times) => {
    await dispatcher();
    workers("virus", "spam", "enrich");
    const struck = proxy.strike({ command: "update", collection: "mails", times, fault });
    const ids = await Promise.all(Array.from({ length: 10 }, () => bench.mail()));
    await ready(ids);
    expect(struck.hits).toBe(times);
    expectAskedOnce(ids);
  },
);

it("drops the one write of 100 that is stale, and makes the others", async () => {
  await dispatcher({ VERDICT_WRITE_MS: "0" });
  const answer = Promise.withResolvers<undefined>();
  workers("enrich");
  bench.worker("virus", { concurrency: 100 });
  bench.worker("spam", {
    concurrency: 100,
    handle: async () => {
      await answer.promise;
      return answers.spam;
    },
  });
  const ids = await Promise.all(Array.from({ length: 100 }, () => bench.mail()));
  await vi.waitFor(() => expect(bench.asked).toHaveLength(200));
  const stolen = ids[41] ?? "";
  const guard = { states: ["incoming", "processing"] as const, unleased: false };
  const set = { state: "held", reason: "a person's" } as const;
  const held = { set, unset: ["next", "dueAt"] } as const;
  expect(await bench.database.mails.writeAs(stolen, guard, held)).toBe("written");
  answer.resolve(undefined);
  await ready(ids.filter((id) => id !== stolen));
  expect(await bench.get(stolen)).toMatchObject({ state: "held", reason: "a person's" });
});

it("reads a body again that could not be read", async () => {
  await dispatcher();
  workers("virus", "spam", "enrich");
  // A mail that comes before the workers is claimed once more for them.
  await ready([await bench.mail()]);
  const struck = proxy.strike({
    command: "find",
    collection: "bodies",
    times: 4,
    fault: { kind: "error", error: "interruptedAtShutdown" },
  });
  const id = await bench.mail({ raw: plainMail() });
  await ready([id]);
  expect(struck.hits).toBe(4);
  expect((await bench.get(id)).claims).toBe(1);
});

describe("mail that only the timer caught (I6)", () => {
  const reported = async () => {
    const reports = await bench.database.actors.all();
    return reports.find(({ service }) => service === "dispatcher");
  };
  /**
   * What it counts of everything that it has claimed so far; the stream has had time to report all
   * of it.
   */
  const counted = async () => {
    const fromMs = bench.database.clock.now().getTime() + 4_000;
    const report = await vi.waitFor(async () => {
      const newest = await reported();
      expect(newest?.at.getTime()).toBeGreaterThan(fromMs);
      return newest;
    });
    return report?.snapshot.timerOnlyMails;
  };
  const streamIsOpen = () =>
    vi.waitFor(() => expect(proxy.seen("getMore", "mails")).toBeGreaterThan(0));

  it("is none while the change stream works, and all of it while it is cut", async () => {
    await dispatcher();
    workers("virus", "spam", "enrich");
    await streamIsOpen();
    const told = await Promise.all(Array.from({ length: 5 }, () => bench.mail()));
    await ready(told);
    expect(await counted()).toBe(0);

    const isStream = { command: ["aggregate", "getMore"], collection: "mails", times: Infinity };
    const cut = proxy.strike({
      ...isStream,
      when: ({ body }) => "getMore" in body || JSON.stringify(body).includes("$changeStream"),
      fault: { kind: "error", error: "changeStreamFatalError" },
    });
    await vi.waitFor(() => expect(cut.hits).toBeGreaterThan(1));
    const silent = await Promise.all(Array.from({ length: 7 }, () => bench.mail()));
    await ready(silent);
    expect(await counted()).toBe(7);

    cut.end();
    const polls = proxy.seen("getMore", "mails");
    await vi.waitFor(() => expect(proxy.seen("getMore", "mails")).toBeGreaterThan(polls + 1));
    await ready(await Promise.all(Array.from({ length: 3 }, () => bench.mail())));
    expect(await counted()).toBe(7);
  });
});
