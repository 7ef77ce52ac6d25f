import { findingText } from "../../src/checks/verdict.ts";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { uncheckedReasonSchema } from "../../src/checks/finding.ts";
import type { CheckKind } from "../../src/checks/verdict.ts";
import { nextStep, type StepInput } from "../../src/policy/disposition.ts";
import { sha256, now, hoursAgo, clean, unchecked, scored } from "./disposition-step.ts";

describe("for any plan, verdicts and overrides", () => {
  const reason = fc.constantFrom(...uncheckedReasonSchema.options);
  const uncheckedFinding = reason.map((one) => unchecked(one));
  const virusFinding = fc.oneof(
    fc.constant(clean),
    fc
      .constantFrom(["A"], ["B"], ["A", "B"])
      .map((names) => ({ kind: "infected" as const, names })),
    uncheckedFinding,
  );
  const spamFinding = fc.oneof(
    fc.double({ min: -10, max: 30, noNaN: true }).map(scored),
    uncheckedFinding,
  );
  const disposition = fc.constantFrom("deliver", "tag", "quarantine", "reject", "discard", "hold");
  const action = fc.constantFrom("wait", "pass", "quarantine");
  const rule = fc.record({
    action,
    waitMs: fc.constantFrom(0, 3_600_000),
    then: fc.constantFrom("pass", "quarantine"),
  });
  const rules = fc.record(
    Object.fromEntries(uncheckedReasonSchema.options.map((one) => [one, rule])),
  );
  const hash = fc.constantFrom("1".repeat(32), "2".repeat(32));
  const bytes = fc.constantFrom(sha256, "b".repeat(64));
  const check = { settings: fc.constant({}), settingsHash: hash, unchecked: rules };
  const maybe = <T>(one: fc.Arbitrary<T>) => fc.option(one, { nil: undefined });
  const verdict = <T>(finding: fc.Arbitrary<T>) =>
    fc.record({
      finding,
      settingsHash: hash,
      sha256: bytes,
      worker: fc.constant("w"),
      queueMs: fc.constant(0),
      workMs: fc.constant(0),
      at: fc.constantFrom(now, hoursAgo(2)),
    });
  const input = fc.record({
    plan: fc.record({
      direction: fc.constantFrom("incoming", "outgoing"),
      order: fc.constantFrom("sequential", "parallel"),
      virus: maybe(fc.record({ ...check, onInfected: disposition })),
      spam: maybe(
        fc.record({
          ...check,
          threshold: fc.constantFrom(0, 5),
          onSpam: disposition,
          highThreshold: maybe(fc.constantFrom(5, 10)),
          onHighSpam: maybe(disposition),
        }),
      ),
    }),
    verdicts: fc.record({
      virus: maybe(verdict(virusFinding)),
      spam: maybe(verdict(spamFinding)),
    }),
    overrides: fc.array(
      fc.record({
        check: fc.constantFrom("virus", "spam"),
        finding: fc.oneof(
          fc.constantFrom("infected: A", "infected: A, B", "spam"),
          reason.map((one) => `unchecked: ${one}`),
        ),
        by: fc.constant("p"),
        at: fc.constant(now),
      }),
      { maxLength: 3 },
    ),
    rawSha256: fc.constant(sha256),
    now: fc.constant(now),
  }) as unknown as fc.Arbitrary<StepInput>;

  const overridden = ({ overrides = [] }: StepInput, kind: CheckKind, text: string) =>
    overrides.some((one) => one.check === kind && one.finding === text);

  test("ready means that each demanded check has a verdict that allows it (I2)", () => {
    fc.assert(
      fc.property(input, (one) => {
        const made = nextStep(one);
        if (made.kind !== "ready") return;
        for (const kind of ["virus", "spam"] as const) {
          const asked = one.plan[kind];
          if (asked === undefined) continue;
          const found = one.verdicts[kind];
          expect(found?.sha256).toBe(one.rawSha256);
          expect(found?.settingsHash).toBe(asked.settingsHash);
          const finding = found?.finding;
          if (finding?.kind !== "unchecked") continue;
          const stated = asked.unchecked[finding.reason];
          const isPassed = stated.action === "pass" || stated.then === "pass";
          expect(isPassed || overridden(one, kind, findingText(kind, finding))).toBe(true);
        }
      }),
      { numRuns: 5_000 },
    );
  });

  test("infected mail is never ready without an override that names it (I2)", () => {
    fc.assert(
      fc.property(input, (one) => {
        const { plan, verdicts } = one;
        const finding = verdicts.virus?.finding;
        if (finding?.kind !== "infected" || nextStep(one).kind !== "ready") return;
        expect(overridden(one, "virus", findingText("virus", finding))).toBe(true);
        expect(plan.virus === undefined || verdicts.virus?.sha256 === sha256).toBe(true);
      }),
      { numRuns: 5_000 },
    );
  });

  test("spam over the threshold is ready only if the policy or a person lets it pass (I2)", () => {
    fc.assert(
      fc.property(input, (one) => {
        const { plan, verdicts } = one;
        const finding = verdicts.spam?.finding;
        if (plan.spam === undefined || finding === undefined || finding.kind === "unchecked")
          return;
        if (finding.score < plan.spam.threshold || nextStep(one).kind !== "ready") return;
        const allowed = [plan.spam.onSpam, plan.spam.onHighSpam].some(
          (chosen) => chosen === "deliver" || chosen === "tag",
        );
        expect(allowed || overridden(one, "spam", "spam")).toBe(true);
      }),
      { numRuns: 5_000 },
    );
  });

  test("only outgoing mail is rejected", () => {
    fc.assert(
      fc.property(input, (one) => {
        if (nextStep(one).kind === "reject") expect(one.plan.direction).toBe("outgoing");
      }),
      { numRuns: 2_000 },
    );
  });

  test("a check is asked only if the plan has it, and side by side only if it says so", () => {
    fc.assert(
      fc.property(input, (one) => {
        const made = nextStep(one);
        if (made.kind !== "check") return;
        expect(made.tasks.every((kind) => one.plan[kind] !== undefined)).toBe(true);
        if (one.plan.order === "sequential") expect(made.tasks).toHaveLength(1);
      }),
      { numRuns: 2_000 },
    );
  });
});
