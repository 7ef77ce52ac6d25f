import { MongoServerError, type ChangeStream } from "mongodb";
import { describe, expect, it, onTestFinished } from "vitest";
import { createSilentLogger } from "../../src/logger.ts";
import { followChanges, hintOf } from "../../src/store/change-stream.ts";
import type { MailHint } from "../../src/store/mails.ts";
import type { CommandError } from "../../../test/support/mongodb-proxy/server-errors.ts";
import { startMongoDbProxy } from "../../../test/support/mongodb-proxy/mongodb-proxy.ts";
import { holdingOf, openStore, useDatabase } from "./test-database.ts";
import { newMail } from "../../../test/support/new-mail.ts";

const database = useDatabase();

/** Inserts mail until the stream, which takes a while to open, reports one. */
async function untilHeard(hints: MailHint[], store = database().store): Promise<void> {
  await expect
    .poll(async () => {
      await store.mails.insert(newMail({ next: "probe" }));
      return hints.some(({ next }) => next === "probe");
    })
    .toBe(true);
}

describe("the change stream of mails", () => {
  it("tells of new mail and of a new step, and not of leases", async () => {
    const { mails } = database().store;
    const hints: MailHint[] = [];
    const abort = new AbortController();
    const ended = mails.watch({ onHint: (hint) => hints.push(hint), signal: abort.signal });
    await untilHeard(hints);
    const mail = newMail({ next: "told" });
    await mails.insert(mail);
    const states = ["incoming"] as const;
    const [claimed] = await mails.claim({
      states,
      next: "told",
      limit: 1,
      owner: "x",
      leaseMs: 9_000,
    });
    const holding = holdingOf(claimed);
    await mails.write(holding, { set: { reason: "nothing new" } });
    await mails.write(holding, {
      set: { state: "processing", next: "step" },
      releaseLease: true,
    });
    const mailId = mail._id;
    await expect.poll(() => hints.at(-1)).toEqual({ mailId, state: "processing", next: "step" });
    const told = hints.filter(({ next }) => next !== "probe");
    expect(told).toEqual([
      { mailId, state: "incoming", next: "told" },
      { mailId, state: "processing", next: "step" },
    ]);
    abort.abort();
    await ended;
  });

  it("tells of what waits for a dispatcher, whatever it is called, and not of what waits for a relay", async () => {
    const { mails } = database().store;
    const abort = new AbortController();
    const hints: MailHint[] = [];
    const ended = mails.watch({ onHint: (hint) => hints.push(hint), signal: abort.signal });
    await untilHeard(hints);

    const mail = newMail({ next: "plan" });
    await mails.insert(mail);
    const states = ["incoming"] as const;
    const claim = { states, next: "plan", limit: 100, owner: "x", leaseMs: 9_000 };
    const claimed = await mails.claim(claim);
    const holding = holdingOf(claimed.find((each) => each.mail._id === mail._id));
    const write = (set: Record<string, unknown>) => mails.write(holding, { set });
    await write({ state: "processing", next: "spam:rspamd" });
    // A check that no policy had named when the stream was opened.
    await write({ next: "dlp" });
    await write({ state: "ready", next: "hop" });
    await write({ state: "relaying" });
    await write({ state: "held", next: "retry" });
    const mailId = mail._id;
    await expect
      .poll(() => hints.filter((hint) => hint.mailId === mailId))
      .toEqual([
        { mailId, state: "incoming", next: "plan" },
        { mailId, state: "processing", next: "spam:rspamd" },
        { mailId, next: "dlp" },
        { mailId, state: "held", next: "retry" },
      ]);
    abort.abort();
    await ended;
  });

  it("goes on after its connection broke, and misses nothing (I6)", async () => {
    await using proxy = await startMongoDbProxy(database().uri);
    await using store = await openStore(proxy.uri, database().name);
    const hints: MailHint[] = [];
    const abort = new AbortController();
    let lost = 0;
    const ended = store.mails.watch({
      onHint: (hint) => hints.push(hint),
      onLost: () => (lost += 1),
      signal: abort.signal,
    });
    await untilHeard(hints);
    proxy.cut();
    await database().store.mails.insert(newMail({ next: "during the cut" }));
    proxy.restore();
    await expect.poll(() => hints.some(({ next }) => next === "during the cut")).toBe(true);
    expect(lost).toBe(0);
    abort.abort();
    await ended;
  });

  it("ends when its signal aborts, though nothing ever comes", async () => {
    const abort = new AbortController();
    const ended = database().store.mails.watch({ onHint: () => undefined, signal: abort.signal });
    abort.abort();
    await ended;
  });
});

describe("a change stream of which the server says", () => {
  /** Watches behind a proxy, which answers the next `getMore` with this error. */
  async function watchedUnder(error: CommandError) {
    const proxy = await startMongoDbProxy(database().uri);
    const store = await openStore(proxy.uri, database().name);
    const told: string[] = [];
    const abort = new AbortController();
    const ended = store.mails.watch({
      onHint: ({ next = "" }) => told.push(next),
      onLost: () => told.push("lost"),
      signal: abort.signal,
    });
    onTestFinished(async () => {
      abort.abort();
      await ended;
      await store.close();
      await proxy.close();
    });
    await expect.poll(() => proxy.seen("getMore", "mails")).toBeGreaterThan(0);
    const fault = { kind: "error", error } as const;
    const struck = proxy.strike({ command: "getMore", collection: "mails", fault });
    await expect.poll(() => struck.hits).toBe(1);
    return told;
  }

  it.each(["changeStreamHistoryLost", "changeStreamFatalError", "bsonObjectTooLarge"] as const)(
    "%s is opened at the present, and says so once it is open (I6)",
    async (error) => {
      const told = await watchedUnder(error);
      await expect.poll(() => told).toContain("lost");
      // What is written now is reported: nothing falls between the rescan and the stream.
      await database().store.mails.insert(newMail({ next: "after" }));
      await expect.poll(() => told).toEqual(["lost", "after"]);
    },
  );

  it.each([
    "notWritablePrimary",
    "primarySteppedDown",
    "interruptedAtShutdown",
    "cursorNotFound",
  ] as const)("%s goes on where it was, and misses nothing (I6)", async (error) => {
    const told = await watchedUnder(error);
    await database().store.mails.insert(newMail({ next: "meanwhile" }));
    await expect.poll(() => told).toEqual(["meanwhile"]);
  });

  it("keeps trying while the server has no stream to give", async () => {
    const abort = new AbortController();
    let tries = 0;
    const following = followChanges({
      name: "test",
      signal: abort.signal,
      log: createSilentLogger(),
      open: () => {
        tries += 1;
        const stream = database().db.collection("mails").watch([], {});
        failAt(stream, new MongoServerError({ code: 40_573, errmsg: "only on replica sets" }));
        return stream;
      },
      onChange: () => undefined,
      onLost: () => undefined,
    });
    await expect.poll(() => tries).toBeGreaterThan(2);
    abort.abort();
    await following;
  });
});

function failAt(stream: ChangeStream, error: Error): void {
  stream.tryNext = () => Promise.reject(error);
}

const now = new Date();

describe("a hint", () => {
  it("is read from an insert and from an update, and from nothing else", () => {
    const fields = { state: "ready", next: "hop" };
    expect(hintOf({ fullDocument: fields }, now)).toEqual(fields);
    expect(hintOf({ updateDescription: { updatedFields: { next: "spam" } } }, now)).toEqual({
      next: "spam",
    });
    expect(hintOf({ documentKey: { _id: "m" }, fullDocument: { next: "x" } }, now)).toEqual({
      mailId: "m",
      next: "x",
    });
    expect(hintOf({ fullDocument: { state: 5, next: "x" } }, now)).toEqual({ next: "x" });
    expect(
      hintOf({ updateDescription: { updatedFields: { state: "held" } } }, now),
    ).toBeUndefined();
    expect(hintOf({}, now)).toBeUndefined();
  });

  it("is none of what is due later, which the timer finds", () => {
    const dueAt = (ms: number) => new Date(now.getTime() + ms);
    const held = { next: "retry", dueAt: dueAt(60_000) };
    expect(hintOf({ updateDescription: { updatedFields: held } }, now)).toBeUndefined();
    expect(hintOf({ fullDocument: { next: "plan", dueAt: dueAt(100) } }, now)).toEqual({
      next: "plan",
    });
  });
});
