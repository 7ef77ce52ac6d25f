import { describe, expect, test } from "vitest";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { nextStep } from "@rs-agent/shared/policy/disposition.ts";
import { recordAfter as after } from "@rs-agent/shared/store/mail-change.ts";
import { cancel, drop, hold, release, retryDead, standingFindings } from "../src/interventions.ts";
import { retryNow } from "../src/retry-now.ts";
import { deadMail, infected, mailWith, plan, quarantinedMail, spam } from "./run-cli.ts";

const now = new Date("2026-02-01T00:00:00Z");
const actor = { by: "p", now };

function stepOf(mail: MailRecord) {
  if (mail.plan === undefined) throw new Error("the mail has no plan");
  return nextStep({ ...mail, plan: mail.plan, rawSha256: mail.body.sha256, now });
}

test("retry-now takes up what the next hop did not take in time, whatever the policy", () => {
  const reason = "its time in the queue is over: b@t.example: 451 4.3.2 not now";
  const mail = mailWith({ state: "held", reason, route: plan.route });
  const { change } = retryNow(mail, { ...actor, isSamePolicy: true });
  expect(change.set).toMatchObject({ state: "processing", queuedAt: now });
});

describe("retry-now of mail of which nobody was told (I12)", () => {
  const untold = (given: Partial<MailRecord> = {}) =>
    mailWith({
      state: "bounced",
      finalAt: now,
      expireAt: now,
      reason: "no report, SPF none",
      recipients: [
        { address: "a@t.example", outcome: "sent", attempts: 1 },
        { address: "b@t.example", outcome: "bounced", attempts: 1, report: "none" },
        { address: "c@t.example", outcome: "bounced", attempts: 2 },
      ],
      ...given,
    });

  test("opens only those recipients; the mail is no longer removed, and its time starts again", () => {
    const { states, change } = retryNow(untold(), actor);
    expect(states).toEqual(["bounced"]);
    const mail = after(untold(), change);
    expect(mail.recipients).toEqual([
      { address: "a@t.example", outcome: "sent", attempts: 1 },
      { address: "b@t.example", outcome: "open", attempts: 0 },
      { address: "c@t.example", outcome: "bounced", attempts: 2 },
    ]);
    expect(mail).toMatchObject({ state: "processing", dueAt: now, queuedAt: now });
    expect([mail.finalAt, mail.expireAt, mail.reason]).toEqual([undefined, undefined, undefined]);
  });

  test("is refused if the sender was told about each", () => {
    const recipients = untold().recipients.slice(2);
    expect(() => retryNow(untold({ recipients }), actor)).toThrow("its sender was told");
  });
});

describe("release", () => {
  test("names the finding that it overrides, and the mail takes every missing step (I2)", () => {
    const { states, change } = release(quarantinedMail(), ["infected: Eicar-Signature"], actor);
    expect(states).toEqual(["quarantined"]);
    expect(change.set).toMatchObject({ state: "processing", next: "spam", dueAt: now });
    const mail = after(quarantinedMail(), change);
    expect(mail.overrides).toEqual([
      { check: "virus", finding: "infected: Eicar-Signature", by: "p", at: now },
    ]);
    expect(mail.recipients).toEqual([{ address: "b@t.example", outcome: "open", attempts: 0 }]);
    expect([mail.finalAt, mail.expireAt, mail.reason]).toEqual([undefined, undefined, undefined]);
    expect(stepOf(mail)).toEqual({ kind: "check", tasks: ["spam"] });
  });

  test("never makes a mail ready itself, even if nothing is missing (I2)", () => {
    const mail = quarantinedMail({ verdicts: { virus: infected, spam } });
    const { change } = release(mail, ["infected: Eicar-Signature", "spam"], actor);
    expect(change.set).toMatchObject({ state: "processing", next: "enrich" });
    expect(stepOf(after(mail, change)).kind).toBe("enrich");
  });

  test("of one finding leaves the other standing", () => {
    const mail = quarantinedMail({ verdicts: { virus: infected, spam } });
    const released = after(mail, release(mail, ["infected: Eicar-Signature"], actor).change);
    expect(standingFindings(released)).toEqual([{ check: "spam", finding: "spam" }]);
    expect(stepOf(released).kind).toBe("quarantine");
  });

  test.each([[[]], [["spam"]], [["infected: Other"]], [["infected: Eicar-Signature", "spam"]]])(
    "of %j is refused and the right name is told",
    (named) => {
      expect(() => release(quarantinedMail(), named, actor)).toThrow(
        "--override 'infected: Eicar-Signature'",
      );
    },
  );

  test.each([
    ["infected: Odd  name\r\n with\x1b[31m 'quotes'", "infected: Odd name with [31m 'quotes'"],
    [`infected: ${"N".repeat(250)}`, `infected: ${"N".repeat(60)}\n    ${"N".repeat(190)}`],
    ["infected: 蠕虫 \u202e🐛", "infected: 蠕虫 🐛"],
  ])("of %j works with what the screen shows of it", (finding, shown) => {
    const names = [finding.slice("infected: ".length)];
    const verdicts = { virus: { ...infected, finding: { kind: "infected" as const, names } } };
    const mail = quarantinedMail({ verdicts });
    const { change } = release(mail, [shown], actor);
    expect(change.set?.overrides).toMatchObject([{ check: "virus", finding }]);
    expect(stepOf(after(mail, change))).toEqual({ kind: "check", tasks: ["spam"] });
    expect(() => release(mail, [`${shown}x`], actor)).toThrow("what keeps it back: --override");
  });

  test("of mail that policy holds for a finding is possible; of sent mail it is not", () => {
    const held = mailWith({ state: "held", verdicts: { virus: infected } });
    expect(release(held, ["infected: Eicar-Signature"], actor).states).toEqual(["held"]);
    expect(() => release(mailWith({ state: "sent" }), [], actor)).toThrow(/is sent: only mail/);
  });

  test("keeps the outcome of recipients that were not quarantined (I1)", () => {
    const sent = { address: "c@t.example", outcome: "sent" as const, attempts: 1 };
    const mail = quarantinedMail();
    const both = { ...mail, recipients: [sent, ...mail.recipients] };
    const { change } = release(both, ["infected: Eicar-Signature"], actor);
    expect(after(both, change).recipients.map(({ outcome }) => outcome)).toEqual(["sent", "open"]);
  });
});

describe("retry-now", () => {
  test("makes waiting mail due immediately and changes nothing else", () => {
    const { change, states } = retryNow(mailWith({ state: "ready" }), actor);
    expect(states).toEqual(["ready"]);
    expect(change.set).toEqual({ dueAt: now });
  });

  test("takes held mail up at its next step, and a finding still stands (I2)", () => {
    const clean = { ...infected, finding: { kind: "clean" as const } };
    const mail = mailWith({ state: "held", verdicts: { virus: clean } });
    expect(retryNow(mail, actor).change.set).toMatchObject({ state: "processing", next: "spam" });
    const bad = mailWith({ state: "held", verdicts: { virus: infected } });
    expect(stepOf(after(bad, retryNow(bad, actor).change)).kind).toBe("quarantine");
  });

  test("plans held mail that has no plan", () => {
    const { plan: none, ...mail } = mailWith({ state: "held" });
    expect(none).toBeDefined();
    expect(retryNow(mail, actor).change.set).toMatchObject({ state: "incoming", next: "plan" });
  });

  describe("of mail that would be held again immediately while the policy is the same", () => {
    const same = { ...actor, isSamePolicy: true };
    const other = { ...actor, isSamePolicy: false };
    const entry = { at: now, event: "held", by: "dispatcher-1", cause: "unable" } as const;

    test("is refused if a finding holds it, with the release that names the finding", () => {
      const holding = {
        ...plan,
        virus: plan.virus && { ...plan.virus, onInfected: "hold" as const },
      };
      const mail = mailWith({ state: "held", plan: holding, verdicts: { virus: infected } });
      expect(() => retryNow(mail, same)).toThrow(
        /its policy holds it for what was found .*quarantine release \w+ --override 'infected: Eicar/,
      );
      expect(retryNow(mail, other).told).toBe("no longer held, due now");
    });

    test("is refused if the mail can never become what policy asks for, with the reason", () => {
      const reason = "the mail has no From field to sign for";
      const mail = mailWith({ state: "held", reason, history: [entry] });
      expect(() => retryNow(mail, same)).toThrow(
        `it would be held again immediately: ${reason}; change`,
      );
      expect(retryNow(mail, other).told).toBe("no longer held, due now");
    });

    test("is refused if the next hop may have it and policy holds such mail, with both ways out", () => {
      const careful = { ...plan, relay: { ...plan.relay, onUnknown: "hold" as const } };
      const unknown = {
        ...{ attempt: 1, at: now, connection: "192.0.2.1:25", relay: "relay-1" },
        recipients: ["b@t.example"],
      };
      const clean = { ...infected, finding: { kind: "clean" as const } };
      const ham = { ...spam, finding: { ...spam.finding, kind: "ham" as const, score: 0 } };
      const mail = mailWith({
        ...{ state: "held", plan: careful, unknown, history: [entry] },
        verdicts: { virus: clean, spam: ham },
      });
      expect(() => retryNow(mail, same)).toThrow(
        /unknown settle \w+ --as sent, or .*unknown resend/,
      );
    });

    test("is done if a person held it, or if it is tried again by itself", () => {
      const byPerson = after(mailWith(), hold(mailWith(), same).change);
      expect(retryNow(byPerson, same).told).toBe("no longer held, due now");
      const later = new Date(now.getTime() + 60_000);
      const byItself = mailWith({
        state: "held",
        reason: "no key",
        heldUntil: later,
        history: [entry],
      });
      expect(retryNow(byItself, same).told).toBe("no longer held, due now");
    });
  });

  test("of final mail is refused, with what to do instead", () => {
    expect(() => retryNow(quarantinedMail(), actor)).toThrow(/quarantine release/);
    expect(() => retryNow(deadMail(), actor)).toThrow(/dead retry/);
  });
});

describe("hold and cancel", () => {
  test("hold waits for a person, or for a time", () => {
    const forever = after(mailWith(), hold(mailWith(), actor).change);
    expect([forever.state, forever.next, forever.dueAt]).toEqual(["held", undefined, undefined]);
    const until = new Date(now.getTime() + 1000);
    const timed = after(mailWith(), hold(mailWith(), actor, until).change);
    expect(timed).toMatchObject({ state: "held", next: "retry", dueAt: until, heldUntil: until });
  });

  test("cancel discards what is open and keeps what has an outcome (I1)", () => {
    const sent = { address: "c@t.example", outcome: "sent" as const, attempts: 1 };
    const mail = mailWith({ state: "ready" });
    const both = { ...mail, recipients: [sent, ...mail.recipients] };
    const cancelled = after(both, cancel(both, actor).change);
    expect(cancelled.recipients.map(({ outcome }) => outcome)).toEqual(["sent", "discarded"]);
    expect(cancelled.state).toBe("sent");
    expect(after(mail, cancel(mail, actor).change).state).toBe("discarded");
    expect(cancelled.expireAt).toEqual(new Date(now.getTime() + (plan.retentionMs.sent ?? 0)));
  });

  test("neither touches final mail, and a mail on its way out is not cancelled (I8)", () => {
    const split = mailWith({ state: "split" });
    expect(() => cancel(split, actor)).toThrow(/is split: its parts go their own way/);
    for (const state of ["sent", "dead", "quarantined", "bounced"] as const) {
      expect(() => cancel(mailWith({ state }), actor)).toThrow(/only mail that is/);
      expect(() => hold(mailWith({ state }), actor)).toThrow(/only mail that is/);
    }
    expect(() => cancel(mailWith({ state: "relaying" }), actor)).toThrow(/only mail that is/);
  });
});

describe("dead letters", () => {
  test("dead letters of source records are not sent as mail; what helps is named", () => {
    const {
      header: none,
      plan: noPlan,
      ...letter
    } = deadMail({
      origin: { via: "source", name: "portal" },
      history: [{ at: now, event: "dead", detail: "record of source portal: smtp: is missing" }],
    });
    expect([none, noPlan]).not.toContain(undefined);
    expect(() => retryDead(letter, actor)).toThrow(
      /never a mail .*into source portal again under a new _id, then .*rs-agent dead drop \w+$/,
    );
    expect(() => retryNow(letter, actor)).not.toThrow(/dead retry/);
    const history = [{ at: now, event: "adopted" as const }, ...letter.history];
    const adopted = { ...letter, history };
    expect(retryDead(adopted, actor).change.set).toMatchObject({ state: "incoming" });
  });

  test("that were never a mail are not tried again, but may be dropped", () => {
    const mail = deadMail({ malformed: { hello: "world" } });
    expect(() => retryDead(mail, actor)).toThrow(/never a mail .*rs-agent dead drop/);
    expect(drop(mail, "dead", actor).change.set).toEqual({ expireAt: now });
  });

  test("start again with their strikes forgiven and dead recipients open", () => {
    const mail = after(deadMail(), retryDead(deadMail(), actor).change);
    expect(mail).toMatchObject({ state: "processing", next: "virus", dueAt: now });
    expect(mail.strikes).toBeUndefined();
    expect(mail.recipients[0]).toEqual({ address: "b@t.example", outcome: "open", attempts: 0 });
  });

  test("are dropped by letting them expire now", () => {
    expect(drop(deadMail(), "dead", actor).change.set).toEqual({ expireAt: now });
    expect(() => drop(mailWith(), "dead", actor)).toThrow(/only mail that is dead/);
    expect(() => drop(deadMail(), "quarantined", actor)).toThrow(/only mail that is quarantined/);
  });
});

test("a finding is named only while nobody has overridden it", () => {
  const unchecked = {
    ...infected,
    finding: { kind: "unchecked" as const, reason: "encrypted" as const },
  };
  expect(standingFindings(mailWith({ verdicts: { virus: unchecked } }))).toEqual([
    { check: "virus", finding: "unchecked: encrypted" },
  ]);
  const overrides = [
    { check: "virus" as const, finding: "unchecked: encrypted", by: "p", at: now },
  ];
  expect(standingFindings(mailWith({ verdicts: { virus: unchecked }, overrides }))).toEqual([]);
});
