import { describe, expect, onTestFinished, test } from "vitest";
import { startNameServer } from "@rs-agent/kit/name-server.ts";
import { newToken } from "@rs-agent/shared/ids.ts";
import type { MailRecord, UnknownMark } from "@rs-agent/shared/mail/record.ts";
import { width } from "../src/terminal.ts";
import { needsProof, resend, settle } from "../src/unknown-outcomes.ts";
import { rsAgent } from "../src/called-as.ts";
import { infected, mailWith, plan, runCli, spam, useCli } from "./run-cli.ts";

const now = new Date("2026-02-01T00:00:00Z");
const actor = { by: "p", now };
const clean = { ...infected, finding: { kind: "clean" as const } };
const ham = { ...spam, finding: { ...spam.finding, kind: "ham" as const, score: 0 } };
const route = { key: "192.0.2.1:25|", host: "192.0.2.1", port: 25 };

const mark: UnknownMark = {
  attempt: 1,
  connection: "hop.example[192.0.2.1]:25",
  recipients: ["b@t.example", "c@t.example"],
  at: new Date("2026-01-31T23:00:00Z"),
  relay: "relay-1",
  resolveAt: new Date("2026-01-31T23:10:00Z"),
};

/** One recipient was sent to and one was deferred before the outcome of the other two was lost. */
function heldMail(given: Partial<MailRecord> = {}): MailRecord {
  const { enrich: none, ...unchanged } = plan;
  expect(none).toBeDefined();
  const words = { status: "4.4.2", reply: "connection closed", attempts: 1 };
  const mail = mailWith({
    state: "held",
    verdicts: { virus: clean, spam: ham },
    plan: unchanged,
    route: { ...unchanged.route, ...route },
    reason: "outcome unknown: b@t.example: connection closed",
    unknown: mark,
    recipients: [
      { address: "a@t.example", outcome: "sent", attempts: 1, status: "2.0.0", reply: "250 ok" },
      { address: "b@t.example", outcome: "open", ...words },
      { address: "c@t.example", outcome: "open", ...words },
      { address: "d@t.example", outcome: "open", attempts: 1, reply: "450 4.2.0 later" },
    ],
    ...given,
  });
  Reflect.deleteProperty(mail, "next");
  Reflect.deleteProperty(mail, "dueAt");
  return mail;
}

const proven = { kind: "proven", detail: "SPF pass for x.example" } as const;

/** The same without the deferred recipient. */
function withoutDeferred(given: Partial<MailRecord> = {}): MailRecord {
  const mail = heldMail();
  return { ...mail, recipients: mail.recipients.slice(0, 3), ...given };
}

function outcomesOf(recipients: unknown): string[] {
  return (recipients as MailRecord["recipients"]).map(({ outcome }) => outcome);
}

describe("resend", () => {
  test("I8: goes back to where it waited, with its mark and who decided it", () => {
    const { states, change } = resend(heldMail(), actor);
    expect(states).toEqual(["held"]);
    expect(change.set).toMatchObject({ state: "relaying", next: route.key, dueAt: now });
    expect(change.set?.unknown).toEqual({ ...mark, resendBy: "p" });
    expect(change.set).not.toHaveProperty("recipients");
    expect(change.history).toMatchObject([{ event: "to be sent again", by: "p" }]);
  });

  test("I8: nothing shortens the time in which the hop may still answer", () => {
    const resolveAt = new Date(now.getTime() + 60_000);
    const { change, told } = resend(heldMail({ unknown: { ...mark, resolveAt } }), actor);
    expect(change.set?.dueAt).toEqual(resolveAt);
    expect(told).toContain(resolveAt.toISOString());
    const { resolveAt: none, ...fresh } = mark;
    expect(none).toBeDefined();
    expect(resend(heldMail({ unknown: fresh }), actor).told).toContain("longest time-out");
  });

  test("I2: a finding that has come to stand against it is not bypassed: the mail is processed", () => {
    const { change } = resend(heldMail({ verdicts: { virus: infected, spam: ham } }), actor);
    expect(change.set).toMatchObject({ state: "processing", unknown: { resendBy: "p" } });
  });
});

describe("settle", () => {
  test("I1: closes only the recipients of that attempt; a deferred one goes on", () => {
    const reply = "250 2.6.0 queued as 4XyZ";
    const { change, report } = settle(heldMail(), { as: "sent", reply }, actor);
    expect(outcomesOf(change.set?.recipients)).toEqual(["sent", "sent", "sent", "open"]);
    expect(change.set?.recipients).toMatchObject([
      { reply: "250 ok" },
      { status: "2.6.0", reply, at: now },
      { status: "2.6.0", reply, at: now },
      { reply: "450 4.2.0 later" },
    ]);
    expect(change.set).toMatchObject({ state: "ready", next: route.key, dueAt: now });
    expect(change.unset).toContain("unknown");
    expect(change.history).toMatchObject([{ event: "outcome found out", by: "p" }]);
    expect(report).toBeUndefined();
  });

  test("makes the mail final if nobody is left, and policy says how long it is kept", () => {
    const { change } = settle(withoutDeferred(), { as: "discarded" }, actor);
    expect(change.set).toMatchObject({ state: "sent", finalAt: now });
    expect(outcomesOf(change.set?.recipients)).toEqual(["sent", "discarded", "discarded"]);
    expect(change.set?.expireAt).toEqual(new Date(now.getTime() + (plan.retentionMs.sent ?? 0)));
    expect(change.unset).toEqual(expect.arrayContaining(["unknown", "reason"]));
  });

  test("for some of them leaves it held for the others", () => {
    const { change, told } = settle(heldMail(), { as: "sent", to: ["B@t.example"] }, actor);
    expect(outcomesOf(change.set?.recipients)).toEqual(["sent", "sent", "open", "open"]);
    expect(change.set?.unknown).toEqual({ ...mark, recipients: ["c@t.example"] });
    expect(change.set).not.toHaveProperty("state");
    expect(told).toBe("sent: b@t.example; held for c@t.example");
  });

  test("as bounced tells the sender, with the hop's words", () => {
    const reply = "550 5.1.1 no such user";
    const found = { as: "bounced", reply } as const;
    const { change, report } = settle(withoutDeferred(), found, actor, proven);
    expect(change.set).toMatchObject({ state: "bounced" });
    expect(report?.failed).toMatchObject([
      { address: "b@t.example", status: "5.1.1", reply },
      { address: "c@t.example", status: "5.1.1", reply },
    ]);
    const plainly = settle(
      withoutDeferred(),
      { as: "bounced", reply: "250 2.0.0 ok" },
      actor,
      proven,
    );
    expect(plainly.report?.failed[0]?.status).toBe("5.0.0");
  });

  test("I12: as bounced tells nobody if the sender of incoming mail is not proven", () => {
    const mail = withoutDeferred();
    const outgoing = { ...mail.plan, direction: "outgoing" } as MailRecord["plan"];
    const reply = "550 5.1.1 no such user";
    const found = { as: "bounced", reply } as const;
    expect(needsProof(mail, found)).toBe(true);
    expect(needsProof(withoutDeferred({ plan: outgoing }), found)).toBe(false);
    const detail = "SPF none for sender.example, no aligned DKIM signature";
    const { change, report, told } = settle(mail, found, actor, {
      kind: "unproven",
      why: "unverified",
      detail,
    });
    expect(report).toBeUndefined();
    expect(change.set).toMatchObject({
      state: "bounced",
      reason: `no report, ${detail}`,
      expireAt: new Date(now.getTime() + 30 * 86_400_000),
    });
    expect(change.unset).not.toContain("reason");
    expect((change.set?.recipients as MailRecord["recipients"]).slice(1)).toMatchObject([
      { outcome: "bounced", report: "none" },
      { outcome: "bounced", report: "none" },
    ]);
    expect(told).toContain("no report");
    // Nobody was asked, so there is no proof.
    expect(settle(mail, found, actor).report).toBeUndefined();
    expect(settle(withoutDeferred({ plan: outgoing }), found, actor).report).toBeDefined();
  });

  test("as bounced makes a dead letter if nobody may be told: null sender, or a finding", () => {
    const mail = withoutDeferred();
    const nobody = { ...mail, smtp: { ...mail.smtp, mailFrom: "" } };
    const double = settle(nobody, { as: "bounced" }, actor);
    expect(double.report).toBeUndefined();
    expect(double.change.set).toMatchObject({ state: "dead", reason: "double-bounce" });
    expect(outcomesOf(double.change.set?.recipients)).toEqual(["sent", "dead", "dead"]);
    expect(double.told).toContain("dead (double-bounce)");
    const tagged = withoutDeferred({ verdicts: { virus: clean, spam } });
    expect(settle(tagged, { as: "bounced" }, actor).report).toBeUndefined();
  });

  test("for a recipient whose outcome is known is refused, and names those whose outcome is not", () => {
    const found = { as: "sent" as const, to: ["d@t.example"] };
    expect(() => settle(heldMail(), found, actor)).toThrow(
      /the outcome is unknown for b@t.example, c@t.example, not for d@t.example/,
    );
  });
});

test("both are refused for mail that is not held with an unknown outcome", () => {
  const acts = [
    (mail: MailRecord) => resend(mail, actor),
    (mail: MailRecord) => settle(mail, { as: "sent" }, actor),
  ];
  for (const act of acts) {
    expect(() => act(heldMail({ state: "relaying" }))).toThrow(
      /by its policy; to keep it back first: (?:npx )?rs-agent hold \w+/,
    );
    const { unknown: none, ...known } = heldMail();
    expect(none).toBeDefined();
    expect(() => act(known)).toThrow(
      /none of its outcomes is unknown; .*rs-agent explain \w+ says/,
    );
    expect(() => act(mailWith({ state: "ready" }))).toThrow(/none of its outcomes is unknown/);
    expect(() => act({ ...heldMail(), state: "sent" })).toThrow(/only mail that is held/);
    expect(() => act(heldMail({ recipients: [] }))).toThrow(/every recipient .* has an outcome/);
  }
});

describe("rs-agent unknown", () => {
  const cli = useCli();

  async function stored(mail: MailRecord): Promise<string> {
    const { mails, bodies } = cli().store;
    const body = await bodies.put(
      Buffer.from("Subject: words\r\nFrom: a@x.example\r\n\r\nbody\r\n"),
    );
    await mails.insert({ ...mail, body });
    return mail._id;
  }

  test("ls shows id, hop, since when, whom it concerns and the last words, within 80 columns", async () => {
    const { run } = cli();
    const connection = `${"hop".repeat(20)}.example[192.0.2.1]:25`;
    const id = await stored(heldMail({ unknown: { ...mark, connection } }));
    const other = await stored(mailWith({ state: "held", reason: "held by p" }));
    const { out } = await run(["unknown", "ls"]);
    expect(out.split("\n").filter((line) => line.length > width)).toEqual([]);
    expect(out).toContain(`${id}  since 2026-01-31 23:00:00Z  hophop`);
    expect(out).toContain("a@x.example → b@t.example and 1 more");
    expect(out).toContain("connection closed");
    expect(out).not.toContain(other);
    const json = JSON.parse((await run(["unknown", "ls", "--json"])).out) as MailRecord[];
    expect(json).toMatchObject([{ _id: id, unknown: { connection } }]);
    const explained = (await run(["explain", id])).out;
    expect(explained).toContain(`  ${rsAgent} unknown resend ${id}`);
    await run(["unknown", "settle", id, "--as", "discarded"]);
    expect((await run(["unknown", "ls"])).out).toBe("none\n");
  });

  /** The command, on a host whose name server has this SPF record for the sender's domain. */
  async function withDns(spf: string) {
    const dns = await startNameServer({ "TXT x.example": [spf] });
    onTestFinished(() => dns.close());
    const { store, env } = cli();
    const run = (args: readonly string[]) => runCli(args, { ...env, DNS_SERVERS: dns.address });
    return { store, run };
  }

  test("I12: settle --as bounced tells nobody if SPF does not list the client", async () => {
    const { run, store } = await withDns("v=spf1 -all");
    const id = await stored(withoutDeferred());
    const { out } = await run(["unknown", "settle", id, "--as", "bounced"]);
    expect(out.replace(/\s+/g, " ")).toBe(
      `${id}: bounced (no report, SPF fail for x.example, no aligned DKIM signature): ` +
        "b@t.example, c@t.example ",
    );
    const found = await store.mails.find({ from: "", limit: 100 });
    expect(found.filter(({ origin }) => origin.name === id)).toEqual([]);
    expect((await run(["find", "--unreported"])).out).toContain(id);
    const explained = (await run(["explain", id])).out;
    expect(explained).toMatch(/b@t\.example: bounced .*, report: none/);
    expect(explained).toContain(`  ${rsAgent} retry-now ${id}`);
    await run(["retry-now", id]);
    expect((await run(["find", "--unreported"])).out).not.toContain(id);
    expect(await store.mails.get(id)).toMatchObject({ state: "processing" });
  });

  test("settle --as bounced stores the report before the outcome, once", async () => {
    const { run, store } = await withDns("v=spf1 ip4:203.0.113.5 -all");
    const id = await stored(withoutDeferred());
    const args = ["unknown", "settle", id, "--as", "bounced", "--reply", "550 5.7.1 not you"];
    const { out, code } = await run(args);
    expect(out).toBe(`${id}: bounced: b@t.example, c@t.example\n`);
    expect(code).toBe(0);
    const mail = await store.mails.get(id);
    expect(mail?.state).toBe("bounced");
    expect(mail).not.toHaveProperty("lease");
    expect(mail).not.toHaveProperty("unknown");
    expect(mail?.history.at(-1)).toMatchObject({ event: "outcome found out", by: "tester" });
    const found = await store.mails.find({ from: "", to: "a@x.example", limit: 10 });
    const reports = found.filter(({ origin }) => origin.name === id);
    expect(reports).toMatchObject([{ state: "incoming", origin: { via: "dsn" } }]);
    const text = (await store.bodies.get(reports[0]?.body ?? expect.fail("no report"))).toString();
    expect(text).toContain("Final-Recipient: rfc822; c@t.example");
    expect(text).toContain("550 5.7.1 not you");
    expect(text).not.toContain("a@t.example");
    const again = await run(args);
    expect(again.err).toMatch(/CLI_REFUSED: \w+ is bounced: none of its outcomes is unknown/);
    expect(again.code).toBe(1);
  });

  test("neither report nor outcome is written while a service works on the mail", async () => {
    const { run, store } = cli();
    const lease = { owner: "relay-2", token: newToken(), until: new Date(Date.now() + 60_000) };
    const id = await stored({ ...withoutDeferred(), lease });
    const { err, code } = await run(["unknown", "settle", id, "--as", "bounced"]);
    expect(err).toMatch(/relay-2 works on it now; try again in a moment/);
    expect(code).toBe(1);
    expect(await store.mails.get(id)).toMatchObject({ state: "held", lease: { owner: "relay-2" } });
    const found = await store.mails.find({ from: "", limit: 100 });
    expect(found.filter(({ origin }) => origin.name === id)).toEqual([]);
  });

  test("I3: only what was read is changed: a mail that was held again meanwhile is read again", async () => {
    const { store } = cli();
    const id = await stored(heldMail());
    const seen = await store.mails.get(id);
    const guard = { states: ["held"] as const, unleased: true };
    const unknown = { ...(seen?.unknown as UnknownMark), attempt: 2 };
    await store.mails.writeAs(id, guard, { set: { unknown } });
    const stale = { ...guard, seen: seen ?? {} };
    expect(await store.mails.writeAs(id, stale, { set: { reason: "x" } })).toBe("refused");
    const fresh = { ...guard, seen: (await store.mails.get(id)) ?? {} };
    expect(await store.mails.writeAs(id, fresh, { set: { reason: "x" } })).toBe("written");
  });
});
