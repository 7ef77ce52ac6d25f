import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { RetryableError, type TerminalError } from "../../src/errors.ts";
import type { Database } from "../../src/store/database.ts";
import type { ClaimedMail } from "../../src/store/mails.ts";
import type { Fault } from "../../../test/support/mongodb-proxy/fault.ts";
import {
  startMongoDbProxy,
  type MongoDbProxy,
} from "../../../test/support/mongodb-proxy/mongodb-proxy.ts";
import { holdingOf, openStore, useDatabase } from "./test-database.ts";
import { newMail } from "../../../test/support/new-mail.ts";

const database = useDatabase();
let proxy: MongoDbProxy;
/** The store as services have it, with the proxy in between. */
let store: Database;
beforeEach(async () => {
  proxy = await startMongoDbProxy(database().uri);
  store = await openStore(`${proxy.uri}&serverSelectionTimeoutMS=1500`, database().name);
});
afterEach(async () => {
  await store.close();
  await proxy.close();
});

/** What may become of one write: what the server has then done, and what its client hears. */
const faults: [string, Fault][] = [
  ["NotWritablePrimary", { kind: "error", error: "notWritablePrimary" }],
  ["PrimarySteppedDown", { kind: "error", error: "primarySteppedDown" }],
  ["InterruptedAtShutdown", { kind: "error", error: "interruptedAtShutdown" }],
  ["InterruptedDueToReplState", { kind: "error", error: "interruptedDueToReplStateChange" }],
  ["WriteConflict", { kind: "error", error: "writeConflict" }],
  ["ExceededTimeLimit", { kind: "error", error: "exceededTimeLimit" }],
  ["write concern 64, applied", { kind: "write concern", error: "timeout" }],
  ["write concern 91, applied", { kind: "write concern", error: "shutdown" }],
  ["write concern 100, applied", { kind: "write concern", error: "unsatisfiable" }],
  ["write concern 189, applied", { kind: "write concern", error: "steppedDown" }],
  ["a reply that is lost, applied", { kind: "lose reply", close: true }],
  ["a connection that breaks before", { kind: "lose command" }],
];

let queues = 0;
const nextQueue = () => `errors-${++queues}`;

async function waiting(count: number): Promise<string> {
  const next = nextQueue();
  const { mails } = database().store;
  await Promise.all(Array.from({ length: count }, () => mails.insert(newMail({ next }))));
  return next;
}

function claim(next: string, limit: number, by = store): Promise<ClaimedMail[]> {
  const states = ["incoming"] as const;
  return by.mails.claim({ states, next, limit, owner: "test", leaseMs: 60_000 });
}

async function held(count: number): Promise<ClaimedMail[]> {
  return claim(await waiting(count), count, database().store);
}

const once = faults.map(([name, fault]) => [name, 1, fault] as const);
/** The driver has then used up its own second try. */
const twice = faults
  .filter(([name]) => /NotWritable|concern 64|lost|before/.test(name))
  .map(([name, fault]) => [name, 2, fault] as const);

/** A RetryableError leaves the outcome open; whatever is reported as done must be done. */
async function orRetryable<T>(work: Promise<T>): Promise<T | "open"> {
  try {
    return await work;
  } catch (error) {
    expect(error).toBeInstanceOf(RetryableError);
    return "open";
  }
}

const struckOnce = { at: new Date(0), event: "strike" } as const;

describe("a group of new mails, where the database says", () => {
  it.each([...once, ...twice])(
    "%s (%i times): what is reported as stored is stored",
    async (_, times, fault) => {
      const struck = proxy.strike({ command: "insert", collection: "mails", times, fault });
      const mails = Array.from({ length: 5 }, () => newMail());
      const results = await Promise.all(mails.map((mail) => orRetryable(store.mails.insert(mail))));
      expect(struck.hits).toBeGreaterThan(0);
      for (const [index, { _id }] of mails.entries()) {
        const isThere = (await database().store.mails.get(_id)) !== undefined;
        expect(isThere).toBe(results[index] === "inserted");
      }
    },
  );
});

describe("a body, where the database says", () => {
  it.each([...once, ...twice])(
    "%s (%i times): what is reported as stored is stored",
    async (_, times, fault) => {
      const struck = proxy.strike({ command: "insert", collection: "bodies", times, fault });
      const raw = Buffer.from("Subject: x\r\n\r\nbody\r\n");
      const ref = await orRetryable(store.bodies.put(raw));
      expect(struck.hits).toBeGreaterThan(0);
      if (ref !== "open") expect(await database().store.bodies.get(ref)).toEqual(raw);
    },
  );

  let larger = 9 * 1024 * 1024;

  it.each(twice)("%s (%i times): a large one is whole or not there", async (_, times, fault) => {
    const struck = proxy.strike({ command: "insert", collection: "bodies.chunks", times, fault });
    // No other body has this length.
    const raw = Buffer.alloc(++larger, "x");
    const ref = await orRetryable(store.bodies.put(raw));
    expect(struck.hits).toBeGreaterThan(0);
    if (ref === "open") {
      const files = database().db.collection("bodies.files");
      expect(await files.countDocuments({ length: raw.length })).toBe(0);
    } else {
      expect((await database().store.bodies.get(ref)).equals(raw)).toBe(true);
    }
  });
});

describe("a claim, where the database says", () => {
  it.each(once)("%s: what it has given away is in hand", async (_, times, fault) => {
    const next = await waiting(5);
    const struck = proxy.strike({ command: "update", collection: "mails", times, fault });
    const claimed = await orRetryable(claim(next, 5));
    expect(struck.hits).toBe(1);
    // Nothing is left under an unknown lease: a second claim gets what the first did not.
    const others = await claim(next, 5);
    const all = [...(claimed === "open" ? [] : claimed), ...others];
    expect(new Set(all.map(({ mail }) => mail._id)).size).toBe(5);
    expect(all).toHaveLength(5);
    for (const { mail, holding } of all) {
      expect((await database().store.mails.get(mail._id))?.lease?.token).toBe(holding.token);
      expect(mail.claims).toBe(1);
    }
  });
});

describe("guarded writes of 100 mails in one bulk, of which one is stale, where the database says", () => {
  it.each([...once, ...twice])(
    "%s (%i times): each is done once, and the stale one is known",
    async (_, times, fault) => {
      const all = await held(100);
      const stolen = all[41]?.mail._id ?? "";
      await database()
        .db.collection("mails")
        .updateOne({ _id: stolen as never }, { $set: { "lease.token": "e".repeat(32) } });
      const struck = proxy.strike({ command: "update", collection: "mails", times, fault });
      const results = await Promise.all(
        all.map(({ holding }) => store.mails.write(holding, { history: [struckOnce] })),
      );
      expect(struck.hits).toBeGreaterThan(0);
      expect(results).toEqual(all.map((_, index) => (index === 41 ? "stale" : "written")));
      expect(store.mails.staleWrites).toBe(1);
      const marked = await database()
        .db.collection("mails")
        .find({ _id: { $in: all.map(({ mail }) => mail._id as never) } })
        .toArray();
      for (const { _id, history } of marked) {
        expect(history).toHaveLength((_id as unknown) === stolen ? 0 : 1);
      }
    },
  );

  it.each([
    ["passes: it is tried again", 112, [0], "written"],
    ["persists: each is tried alone, and one is refused", 2, [0, 4], "STORE_WRITE_REFUSED"],
  ])(
    "an error of their statement that %s, and the others are made once",
    async (_, code, places, outcome) => {
      const all = await held(10);
      for (const index of places) {
        const fault = { kind: "operation error", index, code, errmsg: "of the test" } as const;
        proxy.strike({ command: "update", collection: "mails", fault });
      }
      const results = await Promise.allSettled(
        all.map(({ holding }) => store.mails.write(holding, { history: [struckOnce] })),
      );
      const told = results.map((result) =>
        result.status === "fulfilled" ? result.value : (result.reason as TerminalError).code,
      );
      expect(told).toEqual(all.map((_, index) => (index === 4 ? outcome : "written")));
      for (const [index, { mail }] of all.entries()) {
        const made = told[index] === "written" ? 1 : 0;
        expect((await database().store.mails.get(mail._id))?.history).toHaveLength(made);
      }
    },
  );
});

describe("a write that is asked for again because nobody knows whether it was made", () => {
  it.each([
    ["was made, with its lease kept", undefined],
    ["was made, with its lease given up", true],
  ])("and that %s is made once", async (_, releaseLease) => {
    const [one] = await held(1);
    const { _id = "" } = one?.mail ?? {};
    const change = {
      history: [struckOnce],
      ...(releaseLease === undefined ? {} : { releaseLease }),
    };
    proxy.strike({ command: "update", fault: { kind: "lose reply", close: false } });
    const unanswered = store.mails.write(holdingOf(one), change);
    await expect.poll(async () => (await database().store.mails.get(_id))?.history.length).toBe(1);
    // The driver's own second try finds no server.
    proxy.cut();
    expect(await orRetryable(unanswered)).toBe("open");
    proxy.restore();
    await expect.poll(() => orRetryable(store.mails.write(holdingOf(one), change))).toBe("written");
    const mail = await database().store.mails.get(_id);
    expect(mail?.history).toHaveLength(1);
    expect(store.mails.staleWrites).toBe(0);
  });
});

describe("the renewal of leases, where the database says", () => {
  it.each([...once, ...twice])(
    "%s (%i times): a lease that is reported as renewed is renewed",
    async (_, times, fault) => {
      const all = [...(await held(3)), ...(await held(2))];
      const struck = proxy.strike({ command: "update", collection: "mails", times, fault });
      const before = database().store.clock.now().getTime();
      const held_ = all.map(({ holding }) => holding);
      const renewed = await orRetryable(store.mails.renew(held_, 200_000));
      expect(struck.hits).toBeGreaterThan(0);
      if (renewed === "open") return;
      expect(renewed.stale).toEqual([]);
      for (const { mailId } of held_) {
        const mail = await database().store.mails.get(mailId);
        expect(mail?.lease?.until.getTime()).toBeGreaterThan(before + 150_000);
      }
    },
  );
});

describe("a person's write, where the database says", () => {
  it.each([...once, ...twice])("%s (%i times): it is done once", async (_, times, fault) => {
    const mail = newMail();
    await database().store.mails.insert(mail);
    const struck = proxy.strike({ command: "update", collection: "mails", times, fault });
    const change = { set: { state: "held" }, history: [struckOnce] } as const;
    const guard = { states: ["incoming"] as const, unleased: true };
    const written = await orRetryable(store.mails.writeAs(mail._id, guard, change));
    expect(struck.hits).toBeGreaterThan(0);
    const now = await database().store.mails.get(mail._id);
    expect(written === "refused").toBe(false);
    expect(now?.history).toHaveLength(written === "written" ? 1 : 0);
  });
});

describe("reads", () => {
  it.each([
    ["notPrimaryNoSecondaryOk", "find"],
    ["interruptedAtShutdown", "find"],
    ["cursorNotFound", "getMore"],
  ] as const)("are at most a retryable error: %s", async (error, command) => {
    const next = await waiting(120);
    const struck = proxy.strike({
      command,
      collection: "mails",
      times: 2,
      fault: { kind: "error", error },
    });
    const states = ["incoming"] as const;
    const asked = { states, next, limit: 120, owner: "test", leaseMs: 60_000 };
    await orRetryable(store.mails.claim(asked));
    expect(struck.hits).toBeGreaterThan(0);
  });
});

it("what was under way when we closed is not a bug: it counts as if the database were away", async () => {
  const other = await openStore(proxy.uri, database().name);
  proxy.stall();
  const asked = other.mails.waiting();
  const outcome = expect(asked).rejects.toBeInstanceOf(RetryableError);
  await other.close();
  await outcome;
  proxy.restore();
});
