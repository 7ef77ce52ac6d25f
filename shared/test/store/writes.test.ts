import {
  MongoBulkWriteError,
  MongoNetworkTimeoutError,
  MongoServerError,
  MongoServerSelectionError,
} from "mongodb";
import { afterEach, describe, expect, it } from "vitest";
import { RetryableError, TerminalError } from "../../src/errors.ts";
import { maxHistory } from "../../src/life/events.ts";
import { isWithoutServer, isPassing } from "../../src/store/connection.ts";
import type { Database } from "../../src/store/database.ts";
import {
  startMongoDbProxy,
  type MongoDbProxy,
} from "../../../test/support/mongodb-proxy/mongodb-proxy.ts";
import { holdingOf, openStore, useDatabase } from "./test-database.ts";
import { newMail } from "../../../test/support/new-mail.ts";
import { Holding } from "../../src/store/holding.ts";
import { eachAlone } from "../../src/store/write-forms.ts";

const database = useDatabase();

async function claimed(next: string, count: number, store = database().store) {
  const mails = Array.from({ length: count }, () => newMail({ next }));
  await Promise.all(mails.map((mail) => store.mails.insert(mail)));
  return store.mails.claim({
    states: ["incoming"],
    next,
    limit: count,
    owner: "test",
    leaseMs: 60_000,
  });
}

const struckOnce = { at: new Date(0), event: "strike" } as const;

describe("inserts", () => {
  it("stores a mail once, however often and by however many it is inserted", async () => {
    const { store, db, uri, name } = database();
    await using other = await openStore(uri, name);
    const mail = newMail();
    const results = await Promise.all(
      [store, store, other, other, store].map((each, place) =>
        each.mails.insert({ ...mail, body: { ...mail.body, id: `body-${place}` } }),
      ),
    );
    expect(results.filter((result) => result === "inserted")).toHaveLength(1);
    expect(results.filter((result) => result === "present")).toHaveLength(4);
    expect(await db.collection("mails").countDocuments({ _id: mail._id as never })).toBe(1);
  });

  it("leaves an existing mail as it is, and tells by the body whether it is another's", async () => {
    const { store } = database();
    const mail = newMail();
    await store.mails.insert(mail);
    expect(await store.mails.insert({ ...mail, reason: "again" })).toBe("inserted");
    const body = { ...mail.body, id: "another" };
    expect(await store.mails.insert({ ...mail, body, reason: "another" })).toBe("present");
    expect((await store.mails.get(mail._id))?.reason).toBeUndefined();
  });

  it("gives back the record that was stored", async () => {
    const { store } = database();
    const mail = newMail({
      origin: { via: "smtp", name: "mx", outgoing: true },
      history: [{ at: new Date(5), event: "accepted" }],
    });
    await store.mails.insert(mail);
    expect(await store.mails.get(mail._id)).toMatchObject(mail);
    expect(await store.mails.get("unknown")).toBeUndefined();
  });
});

describe("guarded writes", () => {
  it("change what is set, unset, timed and noted, and give up the lease", async () => {
    const { store } = database();
    const [one] = await claimed("w1", 1);
    const id = one?.mail._id ?? "";
    const change = {
      set: { state: "processing", strikes: 2, dueAt: new Date(7) },
      unset: ["next"],
      timings: { spam: { queueMs: 3, workMs: 4 } },
      history: [
        { at: new Date(1), event: "planned" },
        { at: new Date(2), event: "strike" },
      ],
      releaseLease: true,
    } as const;
    const earlier = { timings: { virus: { queueMs: 1, workMs: 2 } } };
    await store.mails.write(holdingOf(one), earlier);
    expect(await store.mails.write(holdingOf(one), change)).toBe("written");
    const mail = await store.mails.get(id);
    expect(mail).toMatchObject({ state: "processing", strikes: 2, dueAt: new Date(7) });
    expect(mail?.timings).toEqual({ ...earlier.timings, ...change.timings });
    expect(mail?.history.map(({ event }) => event)).toEqual(["planned", "strike"]);
    expect(mail).not.toHaveProperty("next");
    expect(mail).not.toHaveProperty("lease");
  });

  it("keep the newest entries of the history", async () => {
    const { store } = database();
    const [one] = await claimed("w2", 1);
    const history = Array.from({ length: maxHistory + 5 }, (_, index) => ({
      at: new Date(index),
      event: "strike" as const,
      by: `e${index}`,
    }));
    await store.mails.write(holdingOf(one), { history });
    const mail = await store.mails.get(one?.mail._id ?? "");
    expect(mail?.history).toHaveLength(maxHistory);
    expect(mail?.history.at(-1)?.by).toBe(`e${maxHistory + 4}`);
  });

  it("find the one stale write in a bulk of 100 (I3)", async () => {
    const { store, db } = database();
    const all = await claimed("w3", 100);
    expect(all).toHaveLength(100);
    const stolen = all[41]?.mail._id ?? "";
    await db
      .collection("mails")
      .updateOne({ _id: stolen as never }, { $set: { "lease.token": "e".repeat(32) } });
    const results = await Promise.all(
      all.map(({ holding }, index) =>
        store.mails.write(holding, {
          set: { reason: `write ${index}` },
          releaseLease: index % 2 === 0,
        }),
      ),
    );
    expect(results.flatMap((result, index) => (result === "stale" ? [index] : []))).toEqual([41]);
    expect((await store.mails.get(stolen))?.reason).toBeUndefined();
    expect((await store.mails.get(all[99]?.mail._id ?? ""))?.reason).toBe("write 99");
  });

  it("keep the order of several writes to one mail", async () => {
    const { store } = database();
    const [one] = await claimed("w4", 1);
    const id = one?.mail._id ?? "";
    const holding = holdingOf(one);
    await Promise.all(
      Array.from({ length: 20 }, (_, index) =>
        store.mails.write(holding, {
          set: { reason: `write ${index}` },
          history: [{ at: new Date(), event: "strike", by: `w${index}` }],
        }),
      ),
    );
    const mail = await store.mails.get(id);
    expect(mail?.reason).toBe("write 19");
    expect(mail?.history.map(({ by }) => by)).toEqual(
      Array.from({ length: 20 }, (_, index) => `w${index}`),
    );
  });

  it("that the server refuses fail alone", async () => {
    const { store } = database();
    const [good, bad] = await claimed("w5", 2);
    const [written, refused] = await Promise.allSettled([
      store.mails.write(holdingOf(good), { set: { reason: "ok" } }),
      store.mails.write(holdingOf(bad), {
        set: { "state.of.things": 1 } as never,
      }),
    ]);
    expect(written).toEqual({ status: "fulfilled", value: "written" });
    expect(refused.status === "rejected" && refused.reason).toBeInstanceOf(TerminalError);
    expect(refused.status === "rejected" && refused.reason).toMatchObject({
      code: "STORE_WRITE_REFUSED",
    });
  });

  it("that the server refuses fail alone, even if others of their kind went with them", async () => {
    const { store, db } = database();
    const all = await claimed("w6", 20);
    const broken = all[7]?.mail._id;
    await db.collection("mails").updateOne({ _id: broken as never }, { $set: { history: "none" } });
    const settled = await Promise.allSettled(
      all.map(({ holding }) => store.mails.write(holding, { history: [struckOnce] })),
    );
    const failed = settled.flatMap(({ status }, place) => (status === "rejected" ? [place] : []));
    expect(failed).toEqual([7]);
    expect(settled[7]).toMatchObject({ reason: { code: "STORE_WRITE_REFUSED" } });
    for (const [place, { mail }] of all.entries()) {
      if (place !== 7) expect((await store.mails.get(mail._id))?.history).toHaveLength(1);
    }
  });

  it("that the server does late, after further tries and later writes, have no effect (I3)", async () => {
    const { store, db } = database();
    const [one] = await claimed("w7", 1);
    if (one === undefined) throw new Error("nothing was claimed");
    const { mailId, token } = one.holding;
    // What the first try sent, and what is sent again.
    const late = new Holding(one.mail, token);
    const change = { set: { reason: "first" }, history: [struckOnce] };
    expect(await store.mails.write(one.holding, change)).toBe("written");
    expect(await store.mails.write(one.holding, { set: { reason: "second" } })).toBe("written");
    const [statement] = eachAlone([{ holding: late, change, mark: late.markOf(change) }]);
    if (statement === undefined) throw new Error("no statement");
    const { matchedCount } = await db.collection("mails").bulkWrite([statement.operation as never]);
    expect(matchedCount).toBe(0);
    const { reason, history, rev } = (await store.mails.get(mailId)) ?? {};
    expect({ reason, rev, times: history?.length }).toEqual({ reason: "second", rev: 2, times: 1 });
  });

  it("to a mail that is not there are stale", async () => {
    const { store } = database();
    expect(
      await store.mails.write(new Holding(newMail(), "0".repeat(32)), { set: { reason: "x" } }),
    ).toBe("stale");
  });
});

describe("a person's writes", () => {
  it("are refused in another state or while somebody holds the mail", async () => {
    const { store } = database();
    const [held] = await claimed("w6", 1);
    const id = held?.mail._id ?? "";
    const change = { set: { state: "held" }, unset: ["next", "dueAt"] } as const;
    const guard = { states: ["incoming"] as const, unleased: true };
    expect(await store.mails.writeAs(id, guard, change)).toBe("refused");
    await store.mails.write(holdingOf(held), { releaseLease: true });
    expect(await store.mails.writeAs(id, { ...guard, states: ["dead"] }, change)).toBe("refused");
    expect(await store.mails.writeAs(id, guard, change)).toBe("written");
    expect(await store.mails.get(id)).toMatchObject({ state: "held" });
  });

  it("end the right of a holder that they overrule (I3)", async () => {
    const { store } = database();
    const [held] = await claimed("w7", 1);
    const id = held?.mail._id ?? "";
    const guard = { states: ["incoming"] as const, unleased: false };
    expect(await store.mails.writeAs(id, guard, { set: { reason: "mine" } })).toBe("written");
    const late = { set: { reason: "late" } };
    expect(await store.mails.write(holdingOf(held), late)).toBe("stale");
    expect((await store.mails.get(id))?.reason).toBe("mine");
  });
});

describe("a broken network", () => {
  let proxy: MongoDbProxy | undefined;
  let store: Database | undefined;
  afterEach(async () => {
    await store?.close();
    await proxy?.close();
  });

  async function openBehindProxy() {
    proxy = await startMongoDbProxy(database().uri);
    const uri = `${proxy.uri}&serverSelectionTimeoutMS=1500`;
    store = await openStore(uri, database().name);
    return { proxy, store };
  }

  it("loses no write and makes none twice when the answer is lost", async () => {
    const { proxy, store } = await openBehindProxy();
    const all = await claimed("w8", 10, store);
    const lost = proxy.strike({ command: "update", fault: { kind: "lose reply", close: true } });
    const results = await Promise.all(
      all.map(({ holding }) => store.mails.write(holding, { history: [struckOnce] })),
    );
    expect(lost.hits).toBe(1);
    expect(results).toEqual(all.map(() => "written"));
    for (const { mail } of all) {
      expect((await store.mails.get(mail._id))?.history).toHaveLength(1);
    }
  });

  it("makes an insert say that it is done, when its answer is lost", async () => {
    const { proxy, store } = await openBehindProxy();
    const mail = newMail();
    const lost = proxy.strike({ command: "insert", fault: { kind: "lose reply", close: true } });
    expect(await store.mails.insert(mail)).toMatch(/inserted|present/);
    expect(lost.hits).toBe(1);
    expect(await store.mails.get(mail._id)).toMatchObject({ _id: mail._id });
  });

  it("is recognized even if the driver wraps its error, or passes on that of the socket", () => {
    const nothing = { getWriteConcernError: () => undefined };
    const wrapped = (error: Error) => new MongoBulkWriteError(error, nothing as never);
    expect(isPassing(wrapped(new MongoNetworkTimeoutError("monitor timed out")))).toBe(true);
    expect(isWithoutServer(wrapped(new MongoServerSelectionError("none", {} as never)))).toBe(true);
    const reset = Object.assign(new Error("write ECONNRESET"), {
      code: "ECONNRESET",
      syscall: "write",
    });
    expect(isPassing(reset)).toBe(true);
    expect(isPassing(wrapped(reset))).toBe(true);
    expect(isPassing(Object.assign(new Error("no"), { code: "ENOENT", syscall: "open" }))).toBe(
      false,
    );
    expect(isPassing(wrapped(new MongoServerError({ message: "bad", code: 2 })))).toBe(false);
  });

  it("is a retryable error while it lasts, and over when it heals", async () => {
    const { proxy, store } = await openBehindProxy();
    proxy.cut();
    await expect(store.ping()).rejects.toThrow(RetryableError);
    await expect(store.mails.insert(newMail())).rejects.toMatchObject({
      code: "STORE_UNREACHABLE",
    });
    proxy.restore();
    await expect.poll(() => store.ping().then(() => "up")).toBe("up");
  });
});
