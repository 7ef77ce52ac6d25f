import { describe, expect, it } from "vitest";
import type { MailRecord } from "../../src/mail/record.ts";
import { useDatabase } from "./test-database.ts";
import { newMail } from "../../../test/support/new-mail.ts";

const database = useDatabase();
const ids = (mails: MailRecord[]) => mails.map(({ _id }) => _id);

async function insert(...mails: MailRecord[]): Promise<void> {
  for (const mail of mails) await database().store.mails.insert(mail);
}

const at = (minute: number) => new Date(Date.UTC(2026, 0, 1, 12, minute));
const from = (mailFrom: string, ...rcptTo: string[]) => ({
  mailFrom,
  rcptTo,
  client: { address: "", name: "", helo: "" },
});

describe("find", () => {
  it("finds by recipient, sender, Message-ID, time and state, newest first", async () => {
    const { mails } = database().store;
    const first = newMail({
      receivedAt: at(1),
      smtp: from("Ann@Example.org", "Zoe@example.net", "yan@example.net"),
      header: { messageId: "<one@example.org>", from: "Ann B. <ann.b@example.com>" },
    });
    const second = newMail({
      receivedAt: at(2),
      state: "sent",
      smtp: from("", "zoe@EXAMPLE.net"),
      header: { messageId: "<two@example.org>" },
    });
    await insert(first, second);
    const find = async (query: object) => ids(await mails.find({ limit: 10, ...query }));
    expect(await find({ to: "ZOE@example.net" })).toEqual([second._id, first._id]);
    expect(await find({ to: "yan@example.net" })).toEqual([first._id]);
    expect(await find({ from: "ann@example.org" })).toEqual([first._id]);
    expect(await find({ from: "ann.b@example.com" })).toEqual([first._id]);
    expect(await find({ messageId: "two@example.org" })).toEqual([second._id]);
    expect(await find({ messageId: "<one@example.org>" })).toEqual([first._id]);
    expect(await find({ to: "zoe@example.net", from: "ann@example.org" })).toEqual([first._id]);
    expect(await find({ to: "zoe@example.net", state: "sent" })).toEqual([second._id]);
    expect(await find({ to: "zoe@example.net", since: at(2) })).toEqual([second._id]);
    expect(await find({ to: "zoe@example.net", until: at(1) })).toEqual([first._id]);
    expect(await find({ since: at(0), until: at(3) })).toEqual([second._id, first._id]);
    expect(await find({ since: at(0), until: at(3), limit: 1 })).toEqual([second._id]);
    expect(await find({ to: "nobody@example.net" })).toEqual([]);
    expect((await find({})).length).toBeGreaterThanOrEqual(2);
  });
});

describe("what waits", () => {
  it("is counted per state and step with the age of the oldest", async () => {
    const { mails } = database().store;
    await insert(
      newMail({ state: "processing", next: "q-virus", receivedAt: at(5) }),
      newMail({ state: "processing", next: "q-virus", receivedAt: at(4) }),
      newMail({ state: "ready", next: "hop-a:25|", receivedAt: at(6) }),
      newMail({ state: "ready", next: "hop-b:25|", dueAt: new Date(Date.now() + 1e6) }),
      newMail({ state: "sent", next: "hop-c:25|" }),
    );
    const waiting = await mails.waiting();
    expect(waiting).toContainEqual({
      state: "processing",
      next: "q-virus",
      count: 2,
      oldestAt: at(4),
    });
    expect(waiting.map(({ state }) => state)).not.toContain("sent");
    expect((await mails.routesWaiting("ready")).sort()).toEqual(["hop-a:25|", "hop-b:25|"]);
  });
});

describe("what is due, asked about at once", () => {
  it("is what somebody could claim of the steps and states that are named", async () => {
    const { mails } = database().store;
    const states = ["processing", "held"] as const;
    const next = ["d-virus", "d-spam", "d-enrich", "d-retry"];
    const dueFor = () => mails.dueFor({ states, next });
    expect(await dueFor()).toEqual([]);
    await insert(
      newMail({ state: "processing", next: "d-spam" }),
      newMail({ state: "processing", next: "d-other" }),
      newMail({ state: "ready", next: "d-virus" }),
      newMail({ state: "processing", next: "d-enrich", dueAt: new Date(Date.now() + 1e6) }),
      newMail({ state: "held", next: "d-retry" }),
    );
    expect(await dueFor()).toEqual(["d-spam", "d-retry"]);
  });

  it("may be all of them where much is due for one", async () => {
    const { mails } = database().store;
    const states = ["processing"] as const;
    const next = ["m-virus", "m-spam"];
    await insert(
      ...Array.from({ length: 60 }, () => newMail({ state: "processing", next: "m-virus" })),
    );
    expect(await mails.dueFor({ states, next })).toEqual(next);
  });
});

describe("the backlog", () => {
  it("is what has not passed its checks, and since when its oldest mail has waited to be taken on", async () => {
    const { store, db } = database();
    const { mails } = store;
    await db.collection("mails").deleteMany({});
    expect(await mails.backlog(10)).toEqual({ count: 0, untakenSince: undefined });
    const later = new Date(Date.now() + 60_000);
    await insert(
      newMail({ state: "incoming", next: "plan", dueAt: later, receivedAt: at(0) }),
      newMail({ state: "processing", next: "spam", dueAt: at(1) }),
      newMail({ state: "ready", next: "hop:25|", dueAt: at(1) }),
      newMail({ state: "held", next: "retry", dueAt: at(1) }),
      newMail({ state: "sent" }),
    );
    expect(await mails.backlog(10)).toEqual({ count: 2, untakenSince: undefined });
    await insert(
      newMail({ state: "incoming", next: "plan", dueAt: at(4) }),
      newMail({ state: "incoming", next: "plan", dueAt: at(3) }),
    );
    expect(await mails.backlog(10)).toEqual({ count: 4, untakenSince: at(3) });
    expect((await mails.backlog(2)).count).toBe(3);
    await db.collection("mails").deleteMany({});
  });
});

describe("due mail", () => {
  it("is counted by task if nobody holds it, up to the limit, with the oldest", async () => {
    const { store, db } = database();
    const { mails } = store;
    await db.collection("mails").deleteMany({});
    const nothing = { count: 0, since: undefined };
    const none = { plan: nothing, retry: nothing, virus: nothing, spam: nothing };
    expect(await mails.due(10)).toEqual({ ...none, enrich: nothing, relay: nothing });
    const later = new Date(Date.now() + 60_000);
    await insert(
      newMail({ state: "incoming", next: "plan", dueAt: at(2) }),
      newMail({ state: "processing", next: "plan", dueAt: at(5) }),
      newMail({ state: "processing", next: "spam", dueAt: at(3) }),
      newMail({ state: "processing", next: "spam", dueAt: at(1), receivedAt: at(9) }),
      newMail({ state: "processing", next: "spam", dueAt: later }),
      newMail({ state: "processing", next: "virus", dueAt: later }),
      newMail({ state: "held", next: "retry", dueAt: at(7) }),
      newMail({ state: "ready", next: "hop-b:25|", dueAt: at(4) }),
      newMail({ state: "relaying", next: "hop-a:25|", dueAt: at(3) }),
      newMail({ state: "ready", next: "hop-a:25|", dueAt: later }),
      newMail({ state: "sent" }),
    );
    const expected = {
      plan: { count: 2, since: at(2) },
      retry: { count: 1, since: at(7) },
      virus: nothing,
      spam: { count: 2, since: at(1) },
      enrich: nothing,
      relay: { count: 2, since: at(3) },
    };
    expect(await mails.due(10)).toEqual(expected);
    expect(await mails.due(1)).toMatchObject({ spam: { count: 1, since: at(1) } });
    await db.collection("mails").deleteMany({});
  });
});

describe("conservation (I1)", () => {
  it("counts each accepted recipient once, through splits, and DSNs separately", async () => {
    const { store, db } = database();
    await db.collection("mails").deleteMany({});
    const two = { smtp: from("a@example.org", "x@example.net", "y@example.net") };
    const ended = (outcome: "sent" | "bounced") => ({
      recipients: [{ address: "x@example.net", outcome, attempts: 1 }],
    });
    const parent = newMail({ ...two, state: "split", groups: [["x"], ["y"]] });
    const child = { parentId: parent._id, origin: { via: "split" as const, name: parent._id } };
    const unfinished = newMail({ ...two, state: "processing", groups: [["x"], ["y"]] });
    await insert(
      parent,
      newMail({ ...child, ...ended("sent"), state: "sent" }),
      newMail({ ...child, ...ended("bounced"), state: "bounced" }),
      unfinished,
      newMail({ ...child, parentId: unfinished._id }),
      newMail({ ...ended("sent"), state: "sent" }),
      newMail({ origin: { via: "dsn", name: "x" }, ...ended("sent"), state: "sent" }),
    );
    expect(await store.mails.countOutcomes()).toEqual({
      accepted: 5,
      sent: 2,
      quarantined: 0,
      discarded: 0,
      bounced: 1,
      dead: 0,
      open: 2,
      holds: true,
      dsn: { sent: 1, dead: 0, open: 0, other: 0 },
    });
    expect(ids(await store.mails.children(parent._id))).toHaveLength(2);
  });

  it("does not hold when a child is lost", async () => {
    const { store, db } = database();
    await db.collection("mails").deleteOne({ parentId: { $exists: true }, state: "sent" });
    expect((await store.mails.countOutcomes()).holds).toBe(false);
  });
});
