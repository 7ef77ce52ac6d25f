import { randomUUID } from "node:crypto";
import { sha256Hex } from "@rs-agent/shared/ids.ts";
import { permanentReasons, transientReasons } from "@rs-agent/shared/checks/finding.ts";
import type { UncheckedRules } from "@rs-agent/shared/checks/consequence.ts";
import type { Plan } from "@rs-agent/shared/mail/plan.ts";
import type { Database } from "@rs-agent/shared/store/database.ts";
import { expect, it, vi } from "vitest";
import { mailIn, readyMail, routeTo } from "./ready-mail.ts";
import { ownDatabase, runningRelay, runningSink } from "./running-relay.ts";

async function installation() {
  const db = `relay-${randomUUID()}`;
  return { db, database: await ownDatabase(db) };
}

async function reportsIn(database: Database) {
  const found = await database.mails.find({ from: "", limit: 100 });
  return found.filter(({ origin }) => origin.via === "dsn");
}

it("tries again on 4yz by the schedule until the hop takes the mail", async () => {
  const { db, database } = await installation();
  const seen: number[] = [];
  const sink = await runningSink({
    answer: (moment) => {
      if (moment.step !== "sender") return undefined;
      seen.push(performance.now());
      return seen.length < 3 ? "451 4.3.0 not now" : undefined;
    },
  });
  const relay = { retryMs: [150, 400] };
  const id = await readyMail(database, { route: routeTo(sink.port), relay });
  const { counts } = await runningRelay(db);
  const mail = await vi.waitFor(() => mailIn(database, id, "sent"));
  expect(mail.recipients[0]?.attempts).toBe(3);
  const [first = 0, second = 0, third = 0] = seen;
  expect(second - first).toBeGreaterThanOrEqual(150);
  expect(third - second).toBeGreaterThanOrEqual(400);
  expect(counts).toMatchObject({ sent: 1, deferred: 2, bounced: 0, unknown: 0 });
});

it("bounces on 5yz: the report is a mail of its own, to the sender, from the null sender", async () => {
  const { db, database } = await installation();
  const sink = await runningSink({
    answer: ({ step }) => (step === "recipient" ? "550 5.1.1 no such user" : undefined),
  });
  const id = await readyMail(database, { route: routeTo(sink.port) });
  await runningRelay(db);
  const mail = await vi.waitFor(() => mailIn(database, id, "bounced"));
  expect(mail.recipients[0]).toMatchObject({ outcome: "bounced", status: "5.1.1" });
  const [report, ...more] = await reportsIn(database);
  expect(more).toEqual([]);
  expect(report).toMatchObject({
    state: "incoming",
    next: "plan",
    origin: { via: "dsn", name: id },
    smtp: { mailFrom: "", rcptTo: ["a@sender.example"] },
    recipients: [{ address: "a@sender.example", outcome: "open" }],
  });
  const raw = await database.bodies.get(report?.body ?? expect.fail("no body"));
  const text = raw.toString();
  expect(sha256Hex(raw)).toBe(report?.body.sha256);
  expect(text).toContain("Final-Recipient: rfc822; b@rcpt.example\r\n");
  expect(text).toContain("Diagnostic-Code: smtp; 550 5.1.1 no such user\r\n");
  expect(text).toContain("Remote-MTA: dns; 127.0.0.1\r\n");
  expect(text).toContain("Subject: words\r\n");
});

it("bounces when the mail's time in the queue is over", async () => {
  const { db, database } = await installation();
  const sink = await runningSink({
    answer: ({ step }) => (step === "mail" ? "451 4.7.1 greylisted" : undefined),
  });
  const id = await readyMail(database, { route: routeTo(sink.port), relay: { retryMs: [200] } });
  const { counts } = await runningRelay(db);
  await vi.waitFor(() => expect(counts.deferred).toBeGreaterThanOrEqual(2));
  // Its time is over from now on.
  const states = ["ready"] as const;
  const shorter = { set: { queuedAt: new Date(0) } };
  await vi.waitFor(async () => {
    const written = await database.mails.writeAs(id, { states, unleased: true }, shorter);
    expect(written).toBe("written");
  });
  const mail = await vi.waitFor(() => mailIn(database, id, "bounced"));
  expect(mail.recipients[0]).toMatchObject({
    outcome: "bounced",
    status: "4.4.7",
    reply: "451 4.7.1 greylisted",
  });
  expect(mail.recipients[0]?.attempts).toBeGreaterThanOrEqual(2);
  expect(await reportsIn(database)).toHaveLength(1);
});

it("bounces a mail whose time is over while its route cannot be reached, without waiting for its turn", async () => {
  const { db, database } = await installation();
  const gone = await runningSink();
  await gone.stop();
  const route = routeTo(gone.port);
  const relay = { maxQueueMs: 700, retryMs: [60_000] };
  const ids = [];
  for (let count = 0; count < 12; count += 1) ids.push(await readyMail(database, { route, relay }));
  await runningRelay(db);
  for (const id of ids) {
    const mail = await vi.waitFor(() => mailIn(database, id, "bounced"));
    expect(mail.recipients[0]).toMatchObject({ status: "4.4.7" });
    expect(mail.recipients[0]?.reply).toContain("ECONNREFUSED");
  }
});

it("makes a mail of the null sender that cannot be delivered a dead letter: double-bounce", async () => {
  const { db, database } = await installation();
  const sink = await runningSink({
    answer: ({ step }) => (step === "recipient" ? "550 5.1.1 no such user" : undefined),
  });
  const route = routeTo(sink.port);
  const bounce = await readyMail(database, { route, from: "" });
  const origin = { via: "dsn", name: "another" } as const;
  const report = await readyMail(database, { route, from: "", record: { origin } });
  await runningRelay(db);
  for (const id of [bounce, report]) {
    const mail = await vi.waitFor(() => mailIn(database, id, "dead"));
    expect(mail.reason).toMatch(/^double-bounce: .*550 5\.1\.1/);
    expect(mail.recipients[0]?.outcome).toBe("dead");
  }
  expect((await database.mails.find({ state: "incoming", limit: 10 })).length).toBe(0);
});

it("tells nobody that mail with a finding was refused: a dead letter, no backscatter", async () => {
  const { db, database } = await installation();
  const sink = await runningSink({
    answer: ({ step }) => (step === "mail" ? "554 5.7.1 spam" : undefined),
  });
  const rules: never[] = [];
  const verdicts = {
    spam: {
      finding: { kind: "spam", score: 9, required: 5, rules } as const,
      settingsHash: "",
      sha256: "0".repeat(64),
      worker: "spam",
      queueMs: 0,
      workMs: 0,
      at: new Date(),
    },
  };
  const rule = { action: "pass" } as const;
  const reasons = [...transientReasons, ...permanentReasons];
  const spam: Plan["spam"] = {
    settingsHash: "0".repeat(32),
    unchecked: Object.fromEntries(reasons.map((reason) => [reason, rule])) as UncheckedRules,
    settings: { maxBytes: 1, oversize: "head" },
    threshold: 5,
    onSpam: "tag",
  };
  const route = routeTo(sink.port);
  const id = await readyMail(database, { route, record: { verdicts }, plan: { spam } });
  await runningRelay(db);
  const mail = await vi.waitFor(() => mailIn(database, id, "dead"));
  expect(mail.reason).toContain("no report is sent on mail with a finding");
  expect(await reportsIn(database)).toEqual([]);
});

it("waits while the hop is down and sends by itself once it is up again", async () => {
  const { db, database } = await installation();
  const before = await runningSink();
  await before.stop();
  const route = routeTo(before.port);
  const ids = [];
  for (let count = 0; count < 30; count += 1) ids.push(await readyMail(database, { route }));
  const { counts } = await runningRelay(db, { RELAY_PROBE_MS: "320" });
  await vi.waitFor(() => expect(counts.deferred).toBeGreaterThanOrEqual(2));
  const sink = await runningSink({ port: before.port });
  for (const id of ids) await vi.waitFor(() => mailIn(database, id, "sent"));
  expect(sink.delivered).toBe(30);
  // One mail at a time has asked; the others have lost nothing but time.
  const mails = await Promise.all(ids.map((id) => database.mails.get(id)));
  const untouched = mails.filter((mail) => mail?.recipients[0]?.attempts === 1);
  expect(untouched.length).toBeGreaterThan(20);
});

it("does not let a route that cannot be reached slow another one", async () => {
  const { db, database } = await installation();
  const gone = await runningSink();
  await gone.stop();
  const sink = await runningSink();
  for (let count = 0; count < 100; count += 1) {
    await readyMail(database, { route: routeTo(gone.port) });
  }
  const { counts } = await runningRelay(db);
  const id = await readyMail(database, { route: routeTo(sink.port) });
  await vi.waitFor(() => mailIn(database, id, "sent"));
  // Of the hundred, one at a time asks whether the hop is back.
  expect(counts.deferred).toBeLessThan(50);
});
