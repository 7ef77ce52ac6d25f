import type { Override } from "../../src/mail/record.ts";
import type { CheckKind, Verdicts } from "../../src/checks/verdict.ts";
import type { SpamFinding } from "../../src/checks/spam.ts";
import type { uncheckedReasonSchema } from "../../src/checks/finding.ts";
import type { VirusFinding } from "../../src/checks/virus.ts";
import { nextStep, type StepInput } from "../../src/policy/disposition.ts";
import type { Plan } from "../../src/mail/plan.ts";
import { planOf } from "./sample-policy.ts";

export const sha256 = "a".repeat(64);
export const now = new Date("2026-01-01T12:00:00Z");
export const hoursAgo = (hours: number) => new Date(now.getTime() - hours * 3_600_000);
export const noChanges = "changes: { strip: off, verdict-headers: off, geoip: off }";
export const checksOnly = planOf(`default: { ${noChanges} }`);

export const clean: VirusFinding = { kind: "clean" };
export const eicar: VirusFinding = { kind: "infected", names: ["Eicar-Signature"] };
export const unchecked = (reason: (typeof uncheckedReasonSchema.options)[number]) =>
  ({ kind: "unchecked", reason }) as const;
export const scored = (score: number): SpamFinding => ({
  kind: score >= 5 ? "spam" : "ham",
  score,
  required: 5,
  rules: [],
});

const circumstances = { sha256, worker: "w", queueMs: 0, workMs: 1, at: now };

export function virusVerdict(finding: VirusFinding, plan: Plan = checksOnly) {
  return { finding, settingsHash: plan.virus?.settingsHash ?? "", ...circumstances };
}

export function spamVerdict(finding: SpamFinding, plan: Plan = checksOnly) {
  return { finding, settingsHash: plan.spam?.settingsHash ?? "", ...circumstances };
}

export function step(input: Partial<StepInput> & { virus?: VirusFinding; spam?: SpamFinding }) {
  const { virus, spam, plan = checksOnly, ...rest } = input;
  const verdicts: Verdicts = {
    ...(virus && { virus: virusVerdict(virus, plan) }),
    ...(spam && { spam: spamVerdict(spam, plan) }),
  };
  return nextStep({ plan, verdicts, rawSha256: sha256, now, ...rest });
}

export function override(check: CheckKind, finding: string): Override {
  return { check, finding, by: "a person", at: now };
}
