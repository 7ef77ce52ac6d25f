import { stripVTControlCharacters } from "node:util";
import { expect, it } from "vitest";
import { forEachEnd, type Outcome } from "@rs-agent/shared/life/outcomes.ts";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { Conservation } from "@rs-agent/shared/store/mails.ts";
import { samples, type Sample } from "../samples/samples.ts";
import { isAsExpected, resultOf } from "../src/result.ts";
import type { SampleFate } from "../src/sample-run.ts";
import { conservationLine, fateTable } from "../src/table.ts";

const receivedAt = new Date("2026-11-23T10:00:00Z");
const endedAt = new Date(receivedAt.getTime() + 1_234);
const all = samples(receivedAt);

function sampleNamed(name: string): Sample {
  const found = all.find((one) => one.name === name);
  if (found === undefined) throw new Error(`no sample ${name}`);
  return found;
}

const circumstances = {
  settingsHash: "0".repeat(32),
  sha256: "0".repeat(64),
  worker: "w",
  queueMs: 1,
  at: endedAt,
};

function record(sample: Sample, outcomes: Record<string, Outcome>): MailRecord {
  return {
    _id: `id-${sample.name}`,
    v: 1,
    state: "sent",
    origin: { via: "smtp", name: "smtp" },
    smtp: { mailFrom: "", rcptTo: [], client: { address: "", name: "", helo: "" } },
    recipients: Object.entries(outcomes).map(([address, outcome]) => ({
      address,
      outcome,
      attempts: 1,
      ...(outcome === "open" ? {} : { at: endedAt }),
    })),
    receivedAt,
    body: { id: "b", form: "document", size: 1, sha256: "0".repeat(64) },
    verdicts: {
      virus: { ...circumstances, workMs: 12.4, finding: { kind: "clean" } },
      spam: {
        ...circumstances,
        workMs: 12_345,
        finding: { kind: "spam", score: 1002.1, required: 5, rules: [{ name: "GTUBE" }] },
      },
    },
    timings: { enrich: { queueMs: 1, workMs: 3 }, relay: { queueMs: 1, workMs: 9_000 } },
    history: [],
  };
}

const counted: Conservation = {
  accepted: 2,
  ...forEachEnd(() => 0),
  sent: 1,
  quarantined: 1,
  open: 0,
  holds: true,
  dsn: { sent: 0, dead: 0, open: 0, other: 0 },
};

const split = sampleNamed("two-policies");
const [anna, desk] = split.rcptTo as [string, string];
const splitFate: SampleFate = {
  sample: split,
  id: "id-1",
  reply: "250",
  records: [record(split, { [anna]: "quarantined" }), record(split, { [desk]: "sent" })],
};

it("shows every recipient, its outcome, and each record's verdicts and step times", () => {
  const result = resultOf([splitFate], counted);
  const lines = fateTable([splitFate], result, false).split("\n");
  expect(lines.slice(2)).toEqual([
    " two-policies        anna.berg@northwind.example   ✓ quarantined       1234 ms",
    "                     desk@shop.northwind.example   ✓ sent",
    "  virus clean 12 ms · spam spam (1002.1) 12.3 s · enrich 3 ms · relay 9000 ms",
    "  virus clean 12 ms · spam spam (1002.1) 12.3 s · enrich 3 ms · relay 9000 ms",
  ]);
  expect(conservationLine(result)).toBe(
    "1 mails, 2 recipients: 1 sent, 1 quarantined (nothing lost)",
  );
});

it("fits into 80 columns whatever happens, with or without colours", () => {
  const refused: SampleFate = {
    sample: sampleNamed("plain-text"),
    id: undefined,
    reply:
      "Can't send mail - all recipients were rejected: 451 4.3.0 cannot store mail now, try again",
    records: [],
  };
  const fates = [splitFate, refused, ...all.map((sample) => ({ ...splitFate, sample }))];
  const result = resultOf(fates, counted);
  for (const colour of [false, true]) {
    for (const line of fateTable(fates, result, colour).split("\n")) {
      expect(stripVTControlCharacters(line).length).toBeLessThanOrEqual(79);
    }
  }
});

it("marks an unexpected outcome, and says what was expected and why it did not come", () => {
  const held = { ...record(split, { [anna]: "sent", [desk]: "open" }), reason: "no key" };
  const wrong = { ...splitFate, records: [{ ...held, state: "held" as const }] };
  const result = resultOf([wrong], counted);
  const table = fateTable([wrong], result, false);
  expect(table).toMatch(/anna.berg@northwind.example +✗ sent/);
  expect(table).toMatch(/desk@shop.northwind.example +✗ open/);
  expect(table).toContain(
    "sent was expected for desk@shop.northwind.example, but the mail is held: no\n  key",
  );
  expect(isAsExpected(result)).toBe(false);
});

it("is as expected only if every recipient met its end and I1 holds", () => {
  expect(isAsExpected(resultOf([splitFate], counted))).toBe(true);
  expect(isAsExpected(resultOf([splitFate], { ...counted, holds: false }))).toBe(false);
  expect(isAsExpected(resultOf([], counted))).toBe(false);
});

it("gives the JSON document exactly the promised fields", () => {
  const result = resultOf([splitFate], counted);
  expect(Object.keys(result)).toEqual(["mails", "conservation"]);
  expect(Object.keys(result.mails[0] ?? {})).toEqual([
    "sample",
    "id",
    "recipients",
    "verdicts",
    "ms",
  ]);
  expect(result.mails[0]?.recipients).toEqual([
    { address: anna, expected: "quarantined", outcome: "quarantined" },
    { address: desk, expected: "sent", outcome: "sent" },
  ]);
  expect(Object.keys(result.conservation).sort()).toEqual(
    ["accepted", "bounced", "dead", "discarded", "holds", "open", "quarantined", "sent"].sort(),
  );
});
