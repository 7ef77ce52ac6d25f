import { describe, expect, it } from "vitest";
import { createPolicyBook } from "@rs-agent/shared/policy/effective.ts";
import { parsePolicyYaml } from "@rs-agent/shared/policy/yaml.ts";
import type { Outcome } from "@rs-agent/shared/life/outcomes.ts";
import { ConservationCheck } from "../src/check/conservation.ts";
import { wantedOutcome, type SeenMail } from "../src/check/judge.ts";
import type { SeenRecord } from "../src/database.ts";
import type { MailKind } from "../src/mails/mix.ts";

const one = "to.1@a.example";
const two = "to.2@a.example";

function planBy(yaml = "") {
  const documents = parsePolicyYaml(`tenants: { t: { domains: [a.example] } }\n${yaml}`, "t.yaml");
  return createPolicyBook(documents).planFor({
    ...{ direction: "incoming", mailFrom: "x@x.example", recipient: one },
  });
}

const plan = planBy();

function record(_id: string, outcomes: Record<string, Outcome>): SeenRecord {
  const recipients = Object.entries(outcomes).map(([address, outcome]) => ({
    ...{ address, outcome, attempts: 1 },
  }));
  const client = { address: "", name: "", helo: "" };
  const smtp = { mailFrom: "x@x.example", rcptTo: Object.keys(outcomes), client };
  return { _id, state: "sent", smtp, recipients, plan };
}

function seen(given: Partial<SeenMail> & { kind?: MailKind } = {}): SeenMail {
  const { kind = "clean", ...others } = given;
  return {
    mail: { number: 7, kind, mailFrom: "x@x.example", rcptTo: [one, two] },
    status: "accepted",
    isRefused: () => false,
    records: [record("m", { [one]: "sent", [two]: "sent" })],
    copies: [1, 1],
    ...others,
  };
}

function checked(mail: SeenMail) {
  const check = new ConservationCheck();
  check.add(mail);
  return check.read();
}

describe("the check of conservation", () => {
  it("holds if each accepted recipient has one record, one end and one copy", () => {
    expect(checked(seen())).toMatchObject({ holds: true, recipients: 2, ends: { sent: 2 } });
    const parts = [record("m-0", { [one]: "sent" }), record("m-1", { [two]: "sent" })];
    expect(checked(seen({ records: parts })).holds).toBe(true);
    expect(checked(seen({ records: undefined })).holds).toBe(true);
    expect(checked(seen({ copies: undefined })).holds).toBe(true);
  });

  it("does not hold if nothing was accepted, because nothing was shown", () => {
    expect(new ConservationCheck().read().holds).toBe(false);
  });

  const broken: [string, Partial<SeenMail> & { kind?: MailKind }, Record<string, number>][] = [
    [
      "a recipient that is in no record",
      { records: [record("m", { [one]: "sent" })] },
      { lost: 1 },
    ],
    ["a mail without a record", { records: [] }, { lost: 2 }],
    ["a mail that reached no sink", { records: undefined, copies: [0, 1] }, { lost: 1 }],
    ["one copy too many", { copies: [2, 1] }, { duplicate: 1 }],
    [
      "one copy too many, seen only by the sink",
      { records: undefined, copies: [1, 2] },
      { duplicate: 1 },
    ],
    ["what is sent only according to its record", { copies: [1, 0] }, { "not arrived": 1 }],
    [
      "a recipient that is open",
      { records: [record("m", { [one]: "open", [two]: "sent" })] },
      { open: 1 },
    ],
    [
      "a mail that was stored twice",
      {
        records: ["m", "n"].map((id) => record(id, { [one]: "sent", [two]: "sent" })),
        copies: [2, 2],
      },
      { twice: 2 },
    ],
    [
      "a clean mail in quarantine",
      { records: [record("m", { [one]: "quarantined", [two]: "sent" })], copies: [0, 1] },
      { "wrong end": 1 },
    ],
    ["a virus that was sent", { kind: "virus" }, { "wrong end": 2 }],
    [
      "a virus that left its quarantine",
      {
        kind: "virus",
        records: [record("m", { [one]: "quarantined", [two]: "quarantined" })],
        copies: [1, 0],
      },
      { leaked: 1 },
    ],
    [
      "a mail without a reply that was stored and stays open",
      { status: "unknown", records: [record("m", { [one]: "open", [two]: "sent" })] },
      { open: 1 },
    ],
  ];
  it.each(broken)("finds %s", (_, given, findings) => {
    const result = checked(seen(given));
    expect(result.findings).toEqual(findings);
    expect(result.holds).toBe(false);
    expect(result.examples[0]).toMatchObject({
      number: 7,
      address: expect.stringContaining("@") as string,
    });
  });

  it("demands nothing of what was not accepted, and counts what was recorded all the same", () => {
    const refused = seen({ status: "put-off", records: [], copies: [0, 0] });
    expect(checked(refused)).toMatchObject({ findings: {}, recipients: 0, unheard: 0 });
    expect(checked(seen({ status: "put-off" }))).toMatchObject({ findings: {}, unheard: 1 });
    const partly = seen({
      isRefused: (place) => place === 1,
      records: [record("m", { [one]: "sent" })],
      copies: [1, 0],
    });
    expect(checked(partly)).toMatchObject({ holds: true, recipients: 1 });
  });
});

describe("the end that a kind of mail should meet", () => {
  it("is the policy's", () => {
    const ends = (yaml: string) =>
      (["clean", "big", "virus", "spam"] as const).map((kind) => wantedOutcome(kind, planBy(yaml)));
    expect(ends("")).toEqual(["sent", "sent", "quarantined", "quarantined"]);
    expect(ends("default: { spam: { onSpam: tag, onHighSpam: tag } }")[3]).toBe("sent");
    expect(ends("default: { spam: off, virus: { onInfected: discard } }").slice(2)).toEqual([
      "discarded",
      "sent",
    ]);
    expect(wantedOutcome("corpus", plan)).toBeUndefined();
  });
});
