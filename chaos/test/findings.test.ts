import { describe, expect, it } from "vitest";
import { parseMail, type MailRecord } from "@rs-agent/shared/mail/record.ts";
import { judge, type Seen } from "../src/judgement/findings.ts";
import { chaosId } from "../src/mails/mail-bytes.ts";
import { planMail, type MailKind, type PlannedMail } from "../src/mails/planned-mail.ts";
import type { Submission } from "../src/mails/submissions.ts";
import type { Copy } from "../src/sink.ts";

const seed = 1;
const sha256 = "a".repeat(64);
const verdict = { settingsHash: "h", sha256, worker: "w", queueMs: 0, workMs: 0, at: new Date() };
const verdicts = {
  virus: { finding: { kind: "clean" }, ...verdict },
  spam: { finding: { kind: "ham", score: 0, required: 5, rules: [] }, ...verdict },
};

function mailOf(kind: MailKind, isForged = false): PlannedMail {
  for (let number = 0; number < 10_000; number += 1) {
    const mail = planMail(seed, number);
    if (mail.kind === kind && mail.isForged === isForged) return mail;
  }
  throw new Error(`no ${kind} mail`);
}

/** The record as it should be at the end. */
function record(mail: PlannedMail, more: Partial<Record<keyof MailRecord, unknown>> = {}) {
  return parseMail({
    _id: `mail${mail.number}`,
    v: 1,
    state: "sent",
    origin: { via: "smtp", name: "test" },
    smtp: { mailFrom: mail.mailFrom, rcptTo: [], client: { address: "", name: "", helo: "" } },
    recipients: mail.recipients.map(({ address, outcome }) => ({ address, outcome })),
    receivedAt: new Date(),
    body: { id: "b", form: "document", size: 1, sha256 },
    header: { messageId: `<${chaosId(seed, mail.number)}@stranger.example>` },
    verdicts,
    ...more,
  } as { _id: unknown });
}

function copy(mail: PlannedMail, mailId = `mail${mail.number}`): Copy {
  const rcptTo = mail.recipients.flatMap(({ address, outcome }) =>
    outcome === "sent" ? [address] : [],
  );
  const { number, mailFrom } = mail;
  return { mailId, isReport: false, number, mailFrom, rcptTo, at: new Date() };
}

function submission(mail: PlannedMail, more: Partial<Submission> = {}): Submission {
  return { mail, acceptedId: `mail${mail.number}`, unheard: 0, lastFailure: undefined, ...more };
}

function judged(seen: Partial<Seen>) {
  const { findings, ...counts } = judge({
    seed,
    submissions: [],
    records: [],
    copies: [],
    damages: [],
    ...seen,
  });
  return { kinds: findings.map(({ kind }) => kind), ...counts };
}

const clean = mailOf("clean");

describe("the judgement of a run", () => {
  it("finds nothing if every mail met the end that it was made for", () => {
    const infected = mailOf("infected");
    const kept = record(infected, { state: "quarantined", verdicts: {} });
    expect(
      judged({
        submissions: [submission(clean), submission(infected)],
        records: [record(clean), kept],
        copies: [copy(clean)],
      }),
    ).toEqual({
      kinds: [],
      duplicates: 0,
      unknownOutcomes: 0,
      unknownAttempts: 0,
      surplusMails: 0,
    });
  });

  it("I1: finds a mail that was accepted and is nowhere", () => {
    expect(judged({ submissions: [submission(clean)] }).kinds).toEqual(["lost"]);
  });

  it("I1: finds a mail that is recorded as sent and never came", () => {
    const seen = { submissions: [submission(clean)], records: [record(clean)] };
    expect(judged(seen).kinds).toContain("lost");
  });

  it("I1: finds a split whose child is missing", () => {
    const split = mailOf("split");
    const parent = record(split, { state: "split", groups: [] });
    expect(judged({ submissions: [submission(split)], records: [parent] }).kinds).toEqual(
      split.recipients.map(() => "lost"),
    );
  });

  it("finds what has not ended, and what ended differently than it should", () => {
    const recipients = (outcome: string) =>
      clean.recipients.map(({ address }) => ({ address, outcome }));
    for (const [outcome, kind] of [
      ["open", "open"],
      ["quarantined", "wrong-fate"],
      ["dead", "wrong-fate"],
    ] as const) {
      const records = [record(clean, { state: "held", recipients: recipients(outcome) })];
      const { kinds } = judged({ submissions: [submission(clean)], records });
      expect(new Set(kinds)).toEqual(new Set([kind]));
    }
  });

  it("I2: finds mail that was relayed without a verdict, or with one on other bytes", () => {
    const submissions = [submission(clean)];
    const copies = [copy(clean)];
    for (const wrong of [
      {},
      { virus: verdicts.virus },
      { ...verdicts, spam: { ...verdicts.spam, sha256: "b".repeat(64) } },
      { ...verdicts, virus: { ...verdicts.virus, finding: { kind: "unchecked", reason: "busy" } } },
    ]) {
      const { kinds } = judged({
        submissions,
        copies,
        records: [record(clean, { verdicts: wrong })],
      });
      expect(new Set(kinds)).toEqual(new Set(["unscanned"]));
    }
  });

  it("I2: finds a copy of a mail that was to be kept back", () => {
    const infected = mailOf("infected");
    const rcptTo = infected.recipients.map(({ address }) => address);
    const { kinds } = judged({
      submissions: [submission(infected)],
      records: [record(infected, { state: "quarantined" })],
      copies: [{ ...copy(infected), rcptTo }],
    });
    expect(kinds).toEqual(expect.arrayContaining(["leaked", "unscanned"]));
  });

  it("I8: accepts a duplicate only if the history says that it was sent again", () => {
    const twice = { submissions: [submission(clean)], copies: [copy(clean), copy(clean)] };
    const at = new Date();
    const history = [
      { at, event: "outcome unknown", detail: "attempt 1" },
      { at, event: "sent again" },
    ];
    const count = clean.recipients.length;
    const silent = judged({ ...twice, records: [record(clean)] });
    expect(new Set(silent.kinds)).toEqual(new Set(["unexplained-duplicate"]));
    expect(silent.duplicates).toBe(count);
    const told = judged({ ...twice, records: [record(clean, { history })] });
    expect(told).toMatchObject({
      kinds: [],
      duplicates: count,
      unknownOutcomes: count,
      unknownAttempts: 1,
    });
  });

  it("allows one mail more than accepted for each submission that heard no 250", () => {
    const records = [record(clean), record(clean, { _id: "other" })];
    const copies = [copy(clean), copy(clean, "other")];
    const seen = (unheard: number) =>
      judged({ records, copies, submissions: [submission(clean, { unheard })] });
    expect(seen(0).kinds).toEqual(["surplus"]);
    expect(seen(1)).toMatchObject({ kinds: [], surplusMails: 1 });
  });

  it("finds records and copies that nobody handed in", () => {
    expect(judged({ records: [record(clean)] }).kinds).toEqual(["surplus"]);
    expect(judged({ copies: [copy(clean)] }).kinds).toEqual(["lost"]);
  });

  it("demands one report on a bounce, sent and arrived", () => {
    const rejected = mailOf("rejected");
    const bounced = record(rejected, { state: "bounced" });
    const submissions = [submission(rejected)];
    const dsn = record(rejected, {
      _id: "d1",
      origin: { via: "dsn", name: bounced._id },
      smtp: { ...bounced.smtp, mailFrom: "", rcptTo: [rejected.mailFrom] },
      recipients: [{ address: rejected.mailFrom, outcome: "sent" }],
    });
    const arrived = { ...copy(rejected, "d1"), isReport: true, rcptTo: [rejected.mailFrom] };
    const kinds = (records: MailRecord[], copies: Copy[]) =>
      judged({ submissions, records, copies }).kinds;
    expect(kinds([bounced], [])).toEqual(["report"]);
    expect(kinds([bounced, dsn], [])).toEqual(["report"]);
    expect(kinds([bounced, dsn], [arrived, arrived])).toEqual(["report"]);
    expect(kinds([bounced, dsn], [arrived])).toEqual([]);
    const untold = bounced.recipients.map((one) => ({ ...one, report: "none" as const }));
    expect(kinds([{ ...bounced, recipients: untold }], [])).toEqual(["report"]);
  });

  it("I12: demands none on the bounce of a forged sender", () => {
    const rejected = mailOf("rejected", true);
    const told = record(rejected, { state: "bounced" });
    const recipients = told.recipients.map((one) => ({ ...one, report: "none" as const }));
    const submissions = [submission(rejected)];
    const kinds = (records: MailRecord[]) => judged({ submissions, records }).kinds;
    expect(kinds([{ ...told, recipients }])).toEqual([]);
    expect(kinds([told])).toContain("report");
    const dsn = record(rejected, {
      _id: "d1",
      origin: { via: "dsn", name: told._id },
      recipients: [{ address: rejected.mailFrom, outcome: "sent" }],
    });
    expect(kinds([{ ...told, recipients }, dsn])).toContain("report");
  });
});
