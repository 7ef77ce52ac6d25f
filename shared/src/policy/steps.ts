import { changeKinds, type ChangeKind } from "../mail/task-settings.ts";
import { ownChecksIn } from "../checks/asked.ts";
import { builtInNames } from "../checks/built-in-checks.ts";
import { isBuiltIn } from "../checks/verdict.ts";
import type { CompleteRules } from "./complete-rules.ts";
import type { StepName } from "./rules.ts";

/** The classes of steps, in the only order allowed (I5). */
const classes = ["check", "header change", "body change", "signature"] as const;
type StepClass = (typeof classes)[number];

/**
 * What is wrong with the order of a plan's steps (I5), naming the step; undefined if it is right.
 * Checks come first (virus, then spam, then the policy's own by name), then header changes, then
 * body changes, then the signature.
 */
export function stepsProblem(rules: CompleteRules): string | undefined {
  const { steps } = rules;
  if (steps === undefined) return undefined;
  return (
    doubledStep(steps) ??
    unknownStep(rules, steps) ??
    misplacedStep(steps) ??
    unlistedStep(rules, steps)
  );
}

/** The changes that are on, in the order in which they are made. */
export function changesInOrder(rules: CompleteRules): ChangeKind[] {
  const order = rules.steps ?? changeKinds;
  const isOn = (step: StepName): step is ChangeKind =>
    isChange(step) && rules.changes[step].enabled;
  return order.filter(isOn);
}

function doubledStep(steps: readonly StepName[]): string | undefined {
  const doubled = steps.find((step, at) => steps.indexOf(step) !== at);
  return doubled === undefined ? undefined : `step ${doubled} is listed twice`;
}

/** A step that is neither a change nor a check known to these rules. */
function unknownStep(rules: CompleteRules, steps: readonly StepName[]): string | undefined {
  const unknown = steps.find((step) => !isChange(step) && !isBuiltIn(step) && !rules.checks[step]);
  return unknown === undefined ? undefined : `step ${unknown} is not a check that these rules have`;
}

function misplacedStep(steps: readonly StepName[]): string | undefined {
  for (const [at, step] of steps.entries()) {
    const before = steps.slice(0, at).find((earlier) => comesAfter(earlier, step));
    if (before === undefined) continue;
    if (before === "sign") return `${step} follows the signature: nothing may change after sign`;
    const [own, other] = [classOf(step), classOf(before)];
    if (own === other) return `${step} must come before ${before}`;
    return `${own} ${step} follows ${other} ${before}; the order is ${classes.join(", ")}`;
  }
  return undefined;
}

/** A step that is on but not in the list would silently be skipped. */
function unlistedStep(rules: CompleteRules, steps: readonly StepName[]): string | undefined {
  const isOn = (step: StepName) => {
    if (isChange(step)) return rules.changes[step].enabled;
    return isBuiltIn(step) ? rules[step].enabled : rules.checks[step]?.enabled === true;
  };
  const all = [...builtInNames, ...ownChecksIn(rules), ...changeKinds];
  const missing = all.find((step) => isOn(step) && !steps.includes(step));
  if (missing === undefined) return undefined;
  return `step ${missing} is on but not in the list; list it or switch it off`;
}

function isChange(step: StepName): step is ChangeKind {
  return (changeKinds as readonly StepName[]).includes(step);
}

function classOf(step: StepName): StepClass {
  if (!isChange(step)) return "check";
  if (step === "sign") return "signature";
  return step === "disclaimer" ? "body change" : "header change";
}

/** Compares by class, and checks also by their own order. */
function comesAfter(earlier: StepName, step: StepName): boolean {
  const byClass = rank(earlier) - rank(step);
  if (byClass !== 0 || isChange(step) || isChange(earlier)) return byClass > 0;
  return checkOrder(earlier) > checkOrder(step);
}

function rank(step: StepName): number {
  return classes.indexOf(classOf(step));
}

/** A text that sorts: built-in checks by their place, then the others by name. */
function checkOrder(step: StepName): string {
  return isBuiltIn(step) ? String(builtInNames.indexOf(step)) : step;
}
