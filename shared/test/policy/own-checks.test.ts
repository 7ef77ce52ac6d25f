import { expect, test } from "vitest";
import type { Verdicts } from "../../src/checks/verdict.ts";
import { nextStep } from "../../src/policy/disposition.ts";
import { createPolicyBook } from "../../src/policy/effective.ts";
import { parsePolicyYaml } from "../../src/policy/yaml.ts";
import { busKinds } from "../../src/bus/allow-list.ts";
import { builtInNames } from "../../src/checks/built-in-checks.ts";
import { builtInTasks } from "../../src/checks/verdict.ts";
import { changeKinds } from "../../src/mail/task-settings.ts";
import { pausableSteps } from "../../src/store/controls.ts";
import { ownCheckIn, ownCheckSchema, type OwnFinding } from "../../src/checks/own-check.ts";
import { askedIn, checksIn } from "../../src/checks/asked.ts";

const dlp = ownCheckSchema.parse("dlp");
const rawSha256 = "a".repeat(64);
const now = new Date("2026-01-01");

function planOf(rules: string, recipient = "b@t.example") {
  const text = `tenants: { t: { domains: [t.example, u.example] } }\n${rules}`;
  const book = createPolicyBook(parsePolicyYaml(text, "p.yaml"));
  return book.planFor({ direction: "incoming", mailFrom: "a@b.example", recipient });
}

const only = (own: string, order = "") =>
  planOf(
    `default: { virus: off, spam: off, changes: { strip: off, geoip: off, verdict-headers: off, sign: off },${order} checks: { ${own} } }`,
  );

function stepAfter(plan: ReturnType<typeof planOf>, finding: OwnFinding, overrides: string[] = []) {
  const settingsHash = plan.checks?.[dlp]?.settingsHash ?? "";
  const verdict = {
    finding,
    settingsHash,
    sha256: rawSha256,
    worker: "w",
    queueMs: 0,
    workMs: 0,
    at: now,
  };
  const verdicts: Verdicts = { [dlp]: verdict };
  const named = overrides.map((text) => ({ check: dlp, finding: text, by: "ann", at: now }));
  return nextStep({ plan, verdicts, overrides: named, rawSha256, now });
}

test("I2: a mail waits for the verdict of each check that its policy brings", () => {
  const plan = only("dlp: {}, pii: {}");
  expect(checksIn(plan)).toEqual(["dlp", "pii"]);
  const step = nextStep({ plan, verdicts: {}, rawSha256, now });
  expect(step).toEqual({ kind: "check", tasks: ["dlp"] });
  expect(stepAfter(plan, { kind: "passed" })).toEqual({ kind: "check", tasks: ["pii"] });
  const both = only("dlp: {}, pii: {}", " order: parallel,");
  expect(nextStep({ plan: both, verdicts: {}, rawSha256, now })).toEqual({
    kind: "check",
    tasks: ["dlp", "pii"],
  });
});

test("I2: what is found is kept back until a person names it, and what has passed goes on", () => {
  const plan = only("dlp: {}");
  const found: OwnFinding = { kind: "found", labels: ["secret", "card"] };
  expect(stepAfter(plan, found)).toEqual({ kind: "quarantine", reason: "found: card, secret" });
  expect(stepAfter(plan, found, ["found: card"]).kind).toBe("quarantine");
  expect(stepAfter(plan, found, ["found: card, secret"]).kind).toBe("ready");
  expect(stepAfter(plan, { kind: "passed" })).toEqual({ kind: "ready", disposition: "deliver" });
  expect(stepAfter(only("dlp: { finding: tag }"), found)).toMatchObject({ disposition: "tag" });
});

test("I2: without a rule of its own nothing passes unchecked", () => {
  const plan = only("dlp: {}");
  const limit: OwnFinding = { kind: "unchecked", reason: "limit" };
  expect(stepAfter(plan, limit)).toMatchObject({ kind: "quarantine" });
  const away: OwnFinding = { kind: "unchecked", reason: "engine-away" };
  expect(stepAfter(plan, away)).toMatchObject({ kind: "wait", check: "dlp" });
  expect(stepAfter(only("dlp: { unchecked: { limit: pass } }"), limit)).toMatchObject({
    kind: "ready",
    disposition: "tag",
  });
});

test("is inherited, overridden and switched off like other rules", () => {
  const rules = `default: { checks: { dlp: { settings: { words: [a], deep: { x: 1 } }, finding: tag } } }
domains: { u.example: { checks: { dlp: off } } }
addresses: { vip@t.example: { checks: { dlp: { settings: { deep: { y: 2 } } } } } }`;
  expect(askedIn(planOf(rules), dlp)).toMatchObject({ settings: { words: ["a"] }, finding: "tag" });
  expect(checksIn(planOf(rules, "b@u.example"))).toEqual(["virus", "spam"]);
  expect(askedIn(planOf(rules, "vip@t.example"), dlp)).toMatchObject({
    settings: { words: ["a"], deep: { x: 1, y: 2 } },
    finding: "tag",
  });
});

test("has its place in a list of steps", () => {
  const steps = (list: string) => only("dlp: {}, pii: {}", ` steps: [${list}],`);
  expect(checksIn(steps("dlp, pii"))).toEqual(["dlp", "pii"]);
  expect(() => steps("pii, dlp")).toThrow(/dlp must come before pii/);
  expect(() => steps("dlp")).toThrow(/step pii is on but not in the list/);
  expect(() => steps("dlp, pii, other")).toThrow(/step other is not a check that these rules have/);
});

test("has no name that means something else wherever it may stand", () => {
  const taken = [...builtInTasks, ...builtInNames, ...changeKinds, ...busKinds, ...pausableSteps];
  for (const name of [...taken, "retry", "constructor", "", "Dlp", "-a", "a b", "a".repeat(33)]) {
    expect([name, ownCheckIn(name), ownCheckSchema.safeParse(name).success]).toEqual([
      name,
      undefined,
      false,
    ]);
  }
  for (const name of ["dlp", "a", "a-1", "a".repeat(32)]) {
    expect([ownCheckIn(name), ownCheckSchema.parse(name)]).toEqual([name, name]);
  }
});
