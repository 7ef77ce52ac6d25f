import { describe, expect, it } from "vitest";
import { spamFindingSchema } from "@rs-agent/shared/checks/spam.ts";
import { askedOf } from "../src/rspamd/finding.ts";
import { readReply } from "../src/rspamd/reply.ts";
import { findingOf, rspamdKnown } from "./engine-kit.ts";
import { gtubeReply, reply } from "./fake-rspamd.ts";

function judgementOn(body: unknown) {
  const reading = readReply({ status: 200, body: Buffer.from(JSON.stringify(body)) });
  if (reading.kind !== "reply") throw new Error(reading.detail);
  const judgement = askedOf(reading.reply, rspamdKnown);
  const finding = findingOf(judgement);
  expect(spamFindingSchema.parse(finding)).toEqual(finding);
  return judgement;
}

const findingOn = (changes: Record<string, unknown>) => findingOf(judgementOn(reply(changes)));

const thresholds = { reject: 15, "add header": 6, greylist: 4 };

describe("an answer of rspamd", () => {
  it.each([
    ["no action", 1, "ham"],
    ["greylist", 4.5, "ham"],
    ["add header", 7.5, "spam"],
    ["rewrite subject", 8, "spam"],
    ["reject", 20, "spam"],
  ])("whose action is %s at %s points is %s", (action, score, kind) => {
    for (const more of [{}, { thresholds }]) {
      expect(findingOn({ action, score, ...more })).toMatchObject({ kind, score, required: 6 });
    }
  });

  it("is spam from the points that rspamd states, or else from those of the setting", () => {
    const mild = { reject: 12, "add header": 3, "rewrite subject": 8 };
    expect(findingOn({ score: 3.5, action: "add header", thresholds: mild })).toMatchObject({
      kind: "spam",
      required: 3,
    });
    expect(findingOn({ score: 5.9 })).toMatchObject({ kind: "ham", required: 6 });
    expect(findingOn({ score: 5, required_score: 4, action: "reject" })).toMatchObject({
      kind: "spam",
      required: 4,
    });
  });

  it("counts an action that one of rspamd's modules decided as the points that lead to it", () => {
    const forced = { passthrough_module: "force_actions" };
    expect(findingOn({ score: 0.5, action: "reject", ...forced })).toMatchObject({
      kind: "spam",
      score: 15,
      detail: "rspamd's action is reject (force_actions) at 0.5 points",
    });
    expect(findingOn({ score: 0.5, action: "discard", thresholds })).toMatchObject({ score: 15 });
    expect(findingOn({ score: 0.5, action: "add header", thresholds })).toMatchObject({
      kind: "spam",
      score: 6,
    });
  });

  it("is never ham by an action that is milder than its points", () => {
    for (const action of ["no action", "greylist", "soft reject"]) {
      expect(findingOn({ score: 16, action })).toMatchObject({ kind: "spam", score: 16 });
    }
    expect(findingOn({ score: 16, is_skipped: true })).toMatchObject({ kind: "spam" });
  });

  it("is not a verdict if rspamd puts the mail off: rules may not have run", () => {
    const judgement = judgementOn(
      reply({ score: 0, action: "soft reject", messages: { smtp_message: "Try again later" } }),
    );
    expect(judgement).toEqual({
      kind: "answered",
      finding: { kind: "unchecked", reason: "busy", detail: "rspamd puts it off: Try again later" },
    });
  });

  it("is not a verdict if rspamd skipped the mail, but GTUBE counts all the same", () => {
    const skipped = judgementOn(reply({ score: 0, is_skipped: true, symbols: {} }));
    expect(skipped).toMatchObject({
      kind: "answered",
      finding: { kind: "unchecked", reason: "engine-error" },
    });
    expect(findingOf(judgementOn(gtubeReply))).toMatchObject({ kind: "spam", score: 15 });
  });

  it("is not a verdict if rspamd ran out of time, whatever the points", () => {
    for (const score of [0, 20]) {
      expect(findingOn({ score, time_real: 8.01 })).toMatchObject({
        kind: "unchecked",
        reason: "time-out",
      });
    }
  });

  it("gives rules with their points, the weightiest first, and no more than a verdict holds", () => {
    const entries = Array.from({ length: 600 }, (_, n) => [`R${String(n)}`, { score: n / 100 }]);
    const symbols = Object.fromEntries([["WHITE", { score: -9 }], ...entries]) as unknown;
    const finding = findingOn({ symbols });
    if (finding.kind === "unchecked") throw new Error(finding.detail);
    expect(finding.rules).toHaveLength(500);
    expect(finding.rules.slice(0, 2)).toEqual([
      { name: "WHITE", score: -9 },
      { name: "R599", score: 5.99 },
    ]);
  });

  it("has its proposed header fields recorded, one line each, and nothing that is not a field", () => {
    const addHeaders = {
      "X-Spam-Status": { value: "No,\r\n score=1\r\nX-Evil: 1", order: 0 },
      "X-Plain": "a",
      "X-Two": [{ value: "1" }, { value: "2" }],
      "Bad Name": "x",
      "X-Wrong": 7,
      "X-Long": "y".repeat(5_000),
    };
    const finding = findingOn({ milter: { add_headers: addHeaders } });
    expect(finding).toMatchObject({
      proposed: [
        { name: "X-Spam-Status", value: "No,  score=1 X-Evil: 1" },
        { name: "X-Plain", value: "a" },
        { name: "X-Two", value: "1" },
        { name: "X-Two", value: "2" },
        { name: "X-Long", value: "y".repeat(900) },
      ],
    });
    const many = Object.fromEntries(Array.from({ length: 99 }, (_, n) => [`X-${String(n)}`, "v"]));
    const bounded = findingOn({ milter: { add_headers: many } });
    expect(bounded.kind === "ham" && bounded.proposed).toHaveLength(20);
    for (const milter of [undefined, { add_headers: "x" }, { add_headers: null }, "no milter"]) {
      expect(findingOn({ milter })).not.toHaveProperty("proposed");
    }
  });
});
