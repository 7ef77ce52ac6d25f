import { builtInTasks } from "@rs-agent/shared/checks/verdict.ts";
import { mailIdOf } from "@rs-agent/shared/store/adoption.ts";
import { parseSources } from "@rs-agent/shared/store/source-config.ts";
import { MongoClient } from "mongodb";
import { expect, it, onTestFinished, vi } from "vitest";
import { answers } from "./answers.ts";
import { openBench, type Bench } from "./in-process.ts";

const name = "inbox";

/** A source in the bench's database, with records in it. */
function openSource(bench: Bench) {
  const client = new MongoClient(bench.settings.MONGODB_URI ?? "");
  onTestFinished(() => client.close());
  const json = JSON.stringify([
    { name, form: "native", mode: "deliver", db: bench.db, collection: name },
  ]);
  const [source] = parseSources(json);
  if (source === undefined) throw new Error("no source");
  const inbox = client.db(bench.db).collection(name);
  const mails = client.db(bench.db).collection<{ _id: string }>("mails");
  const insert = async (count: number) => {
    const records = Array.from({ length: count }, (_, at) => ({
      state: "incoming",
      smtp: { mailFrom: "a@b.example", rcptTo: ["bob@acme.example"], client: {} },
      body: Buffer.from(`Subject: ${String(at)}\r\n\r\nx\r\n`),
    }));
    const { insertedIds } = await inbox.insertMany(records);
    return Object.values(insertedIds).map((id) => mailIdOf(source, id));
  };
  const stateOf = async (id: string) => (await bench.database.mails.get(id))?.state;
  return { source, json, inbox, mails, insert, stateOf };
}

it("takes on what its workers have room for, and the rest stays in the source", async () => {
  const bench = await openBench();
  const { json, inbox, mails, insert, stateOf } = openSource(bench);
  const opened = Promise.withResolvers<undefined>();
  const work = { isStopped: false };
  let looks = 0;
  await bench.dispatcher(
    { SOURCES: json },
    {
      onDatabase({ controls }) {
        const all = controls.all.bind(controls);
        controls.all = () => {
          looks += 1;
          return all();
        };
      },
    },
  );
  bench.worker("virus", {
    concurrency: 3,
    async handle() {
      if (work.isStopped) await opened.promise;
      return answers.virus;
    },
  });
  bench.worker("spam");
  bench.worker("enrich");
  const other = await bench.mail();
  await vi.waitFor(async () => expect(await stateOf(other)).toBe("ready"));
  work.isStopped = true;
  const ids = await insert(120);
  await vi.waitFor(() => expect(bench.asked.length).toBeGreaterThanOrEqual(6));
  // What it has taken on by now is asked for, or waits: the timer brings no more while no verdict
  // comes.
  await vi.waitFor(async () => {
    const before = { looks, count: await mails.countDocuments() };
    await vi.waitFor(() => expect(looks).toBeGreaterThan(before.looks + 3));
    expect(await mails.countDocuments()).toBe(before.count);
  });
  expect(await mails.countDocuments()).toBeLessThan(40);
  expect(await inbox.countDocuments({ state: "incoming" })).toBeGreaterThan(80);
  opened.resolve(undefined);
  await vi.waitFor(async () => {
    for (const id of ids) expect(await stateOf(id)).toBe("ready");
  });
  expect(await inbox.countDocuments({ state: "adopted" })).toBe(120);
});

it("leaves records in a source that a person has paused, and takes them on after that", async () => {
  const bench = await openBench();
  const { json, mails, insert, stateOf } = openSource(bench);
  await bench.database.controls.pause("adopt", "me");
  await bench.dispatcher({ SOURCES: json });
  for (const kind of builtInTasks) bench.worker(kind);
  const [id = ""] = await insert(1);
  const other = await bench.mail();
  await vi.waitFor(async () => expect((await bench.get(other)).state).toBe("ready"));
  expect(await mails.countDocuments()).toBe(1);
  await bench.database.controls.resume("adopt");
  await vi.waitFor(async () => expect(await stateOf(id)).toBe("ready"));
});

it("gives a stub of a source that it does not have back, as one that it cannot read", async () => {
  const bench = await openBench();
  const { source, json, insert, stateOf } = openSource(bench);
  const [id = ""] = await insert(1);
  await bench.database.sources.take(source, { limit: 1, owner: "dead", leaseMs: 1 });
  const without = await bench.dispatcher();
  await vi.waitFor(async () => {
    const { reason, lease } = await bench.get(id);
    expect(reason).toBe("the dispatcher has no source inbox (SOURCES)");
    expect(lease).toBeUndefined();
  });
  expect(await bench.get(id)).toMatchObject({ state: "incoming", next: "adopt", unended: 1 });
  await without.close();
  await bench.dispatcher({ SOURCES: json });
  for (const kind of builtInTasks) bench.worker(kind);
  await vi.waitFor(async () => expect(await stateOf(id)).toBe("ready"));
  expect((await bench.get(id)).reason).toBeUndefined();
});

it("drains: what it has not read goes back as a stub, and another dispatcher reads it", async () => {
  const bench = await openBench();
  const { json, inbox, insert, stateOf } = openSource(bench);
  const isReading = Promise.withResolvers<undefined>();
  const goesOn = Promise.withResolvers<undefined>();
  const one = await bench.dispatcher(
    { SOURCES: json },
    {
      onDatabase({ sources }) {
        const read = sources.read.bind(sources);
        sources.read = async (...args) => {
          isReading.resolve(undefined);
          await goesOn.promise;
          return read(...args);
        };
      },
    },
  );
  const [id = ""] = await insert(1);
  await isReading.promise;
  const drained = one.drain();
  await vi.waitFor(async () => expect((await bench.get(id)).lease).toBeUndefined());
  expect(await bench.get(id)).toMatchObject({ state: "incoming", next: "adopt", recipients: [] });
  goesOn.resolve(undefined);
  await drained;
  expect(await inbox.countDocuments({ state: "incoming" })).toBe(1);
  await bench.dispatcher({ SOURCES: json });
  for (const kind of builtInTasks) bench.worker(kind);
  await vi.waitFor(async () => expect(await stateOf(id)).toBe("ready"));
});
