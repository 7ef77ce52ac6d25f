import type { MailRecord, UnknownMark } from "@rs-agent/shared/mail/record.ts";
import { pino } from "pino";
import { describe, expect, it } from "vitest";
import { logOutcomes } from "@rs-agent/shared/mail/outcome-log.ts";
import { settle } from "../src/outcomes.ts";
import { ReplyParser, statusOf } from "../src/reply.ts";
import { retryAt } from "../src/schedule.ts";
import type { RecipientResult } from "../src/transcript.ts";
import { resolveMark } from "../src/unknown-outcome.ts";
import { readyRecord, routeTo } from "./ready-mail.ts";

const route = routeTo(25);
const now = new Date("2026-06-01T12:00:00Z");

function after(mail: MailRecord, ms: number): Date {
  return new Date(mail.receivedAt.getTime() + ms);
}

describe("replies", () => {
  it("are whole lines, in whatever pieces they come", () => {
    const parser = new ReplyParser();
    expect(parser.push(Buffer.from("250-one\r\n25"))).toEqual([]);
    expect(parser.push(Buffer.from("0 two\r\n\r\n354 go\n5"))).toEqual([
      "250-one\n250 two",
      "354 go",
    ]);
    expect(parser.push(Buffer.from("50 \xc3\xa4 \r\n", "latin1"))).toEqual(["550 \u00e4 "]);
    expect(parser.push(Buffer.from("550 \xe4\r\n", "latin1"))).toEqual(["550 \u00e4"]);
  });

  it("carry an enhanced status only of their own class", () => {
    expect(statusOf("550 5.1.1 no")).toBe("5.1.1");
    expect(statusOf("550-5.7.26 no\n550 5.7.26 really")).toBe("5.7.26");
    expect(statusOf("450 5.1.1 contradicts itself")).toBe("4.0.0");
    expect(statusOf("550 no")).toBe("5.0.0");
  });
});

describe("the retry schedule", () => {
  const mail = readyRecord({ route, relay: { retryMs: [1_000, 5_000], maxQueueMs: 20_000 } });

  it("takes its steps in turn, repeats the last one, and ends with a try when the time is over", () => {
    const at = after(mail, 2_000);
    expect(retryAt(mail, 1, at)).toEqual(after(mail, 3_000));
    expect(retryAt(mail, 2, at)).toEqual(after(mail, 7_000));
    expect(retryAt(mail, 9, at)).toEqual(after(mail, 7_000));
    expect(retryAt(mail, 9, after(mail, 18_000))).toEqual(after(mail, 20_000));
  });
});

describe("settling an attempt", () => {
  const sent: RecipientResult = { kind: "sent", status: "2.0.0", reply: "250 2.0.0 ok" };
  const unknown: RecipientResult = { kind: "unknown", detail: "reset" };
  const refused: RecipientResult = { kind: "refused", status: "5.1.1", reply: "550 5.1.1 no" };
  const mark: UnknownMark = {
    attempt: 1,
    connection: "hop",
    recipients: ["a@x", "b@x", "c@x"],
    at: now,
    relay: "relay-1",
  };
  const mail = readyRecord({ route, to: ["a@x", "b@x", "c@x"] });
  const attempt = {
    mail,
    hop: "hop",
    startedAt: now,
    now,
    by: "relay-1",
    longestTimeoutMs: 60_000,
  };
  const results = new Map([sent, unknown, refused].map((result, at) => [at, result] as const));

  it("I8: keeps the mark for exactly those whose outcome is unknown, and lets nobody touch them before the time", () => {
    const { change, bounce, outcomes } = settle({ ...attempt, results, mark });
    const resolveAt = new Date(now.getTime() + 60_000);
    expect(change.set).toMatchObject({
      state: "relaying",
      dueAt: resolveAt,
      unknown: { ...mark, recipients: ["b@x"], resolveAt },
      recipients: [{ outcome: "sent" }, { outcome: "open" }, { outcome: "bounced" }],
    });
    expect(change.unset ?? []).not.toContain("unknown");
    expect(change.releaseLease).toBe(true);
    expect(bounce).toMatchObject([{ address: "c@x", status: "5.1.1" }]);
    expect(outcomes.map(({ status }) => status)).toEqual(["sent", "unknown", "bounced"]);
  });

  it("I8: any known end clears the mark", () => {
    for (const result of [sent, refused, { ...refused, kind: "deferred" as const }]) {
      const all = new Map([0, 1, 2].map((at) => [at, result] as const));
      expect(settle({ ...attempt, results: all, mark }).change.unset).toContain("unknown");
    }
  });

  it("I8: an attempt that began no transaction leaves the mark of an earlier one", () => {
    const before = { ...mail, state: "relaying" as const, unknown: { ...mark, resolveAt: now } };
    const deferred: RecipientResult = { kind: "deferred", status: "4.4.1", reply: "no connection" };
    const all = new Map([0, 1, 2].map((at) => [at, deferred] as const));
    const { change } = settle({ ...attempt, mail: before, results: all, mark: undefined });
    expect(change.set).toMatchObject({ state: "relaying" });
    expect(change.unset).not.toContain("unknown");
    const plain = settle({ ...attempt, results: all, mark: undefined }).change;
    expect(plain.set).toMatchObject({ state: "ready" });
  });

  it("touches no recipient that was not asked", () => {
    const [first, ...others] = mail.recipients;
    const before = {
      ...mail,
      recipients: [{ ...first, address: "a@x", outcome: "sent", attempts: 3 } as const, ...others],
    };
    const { change } = settle({ ...attempt, mail: before, results: new Map([[1, sent]]), mark });
    expect((change.set?.recipients as unknown[])[0]).toEqual(before.recipients[0]);
  });
});

describe("a claimed mail with a mark", () => {
  const mark: UnknownMark = {
    attempt: 1,
    connection: "hop",
    recipients: ["a@x"],
    at: now,
    relay: "dead",
  };
  const resolveAt = new Date(now.getTime() + 60_000);

  it("I8: begins to wait now, however long it has waited, then is sent again or held by policy", () => {
    const mail = readyRecord({ route, record: { unknown: mark } });
    const first = resolveMark(mail, now, "relay-2", 60_000);
    expect(first).toMatchObject({
      kind: "wait",
      change: { set: { unknown: { ...mark, resolveAt }, dueAt: resolveAt, state: "relaying" } },
    });
    const waiting = { ...mail, unknown: { ...mark, resolveAt } };
    const before = new Date(resolveAt.getTime() - 1);
    expect(resolveMark(waiting, before, "relay-2", 60_000)).toEqual({
      kind: "wait",
      change: { set: { dueAt: resolveAt }, releaseLease: true, untried: true },
    });
    expect(resolveMark(waiting, resolveAt, "relay-2", 60_000)).toEqual({ kind: "resend" });
    const held = readyRecord({ route, relay: { onUnknown: "hold" }, record: { unknown: mark } });
    expect(resolveMark(held, now, "relay-2", 60_000)).toMatchObject({
      kind: "wait",
      change: { set: { state: "held", unknown: { resolveAt } } },
    });
  });
});

describe("the outcome's log line", () => {
  function lines(
    mode: "plain" | "hash" | "off",
    reply = "550 <b@rcpt.example> no",
  ): Record<string, unknown>[] {
    const written: string[] = [];
    const log = pino({}, { write: (line: string) => written.push(line) });
    const mail = readyRecord({ route, from: "A@sender.example", to: ["b@rcpt.example"] });
    logOutcomes(
      log,
      mode,
      mail,
      "mx[192.0.2.1]:25",
      [
        {
          address: "b@rcpt.example",
          status: "bounced",
          dsn: "5.1.1",
          reply,
        },
      ],
      after(mail, 1_500),
    );
    return written.map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  it("has what postfix has: id, from, to, relay, delay, dsn, status and the hop's reply", () => {
    expect(lines("plain")[0]).toMatchObject({
      mailId: expect.any(String) as string,
      from: "A@sender.example",
      to: "b@rcpt.example",
      relay: "mx[192.0.2.1]:25",
      delay: 1.5,
      dsn: "5.1.1",
      status: "bounced",
      reply: "550 <b@rcpt.example> no",
    });
  });

  it("shows no address if that is not allowed, not even in the reply", () => {
    for (const mode of ["hash", "off"] as const) {
      const text = JSON.stringify(lines(mode));
      expect(text).not.toContain("@");
      const [quoted] = lines(mode, '550 <"odd b\\" user"@rcpt.example> no');
      expect(quoted?.reply).toBe("550 <-> no");
    }
    expect(lines("hash")[0]?.to).toMatch(/^[0-9a-f]{16}$/);
  });
});
