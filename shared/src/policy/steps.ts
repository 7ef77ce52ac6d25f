import { changeKinds, type ChangeKind } from "../mail/task-settings.ts";
import { checkKinds } from "../checks/verdict.ts";
import type { CompleteRules } from "./complete-rules.ts";
import { stepNames, type StepName } from "./rules.ts";

/** I5: the classes of steps, in the only order that there is. */
const classes = ["check", "header change", "body change", "signature"] as const;
type StepClass = (typeof classes)[number];

/**
 * What is wrong with the order of a plan's steps (I5), naming the step; undefined where it is right.
 * Checks come first (virus, then spam), then header changes, then body changes, then the signature.
 */
export function stepsProblem(rules: CompleteRules): string | undefined {
  const { steps } = rules;
  if (steps === undefined) return undefined;
  return doubledStep(steps) ?? misplacedStep(steps) ?? unlistedStep(rules, steps);
}

/** The changes that are on, in the order in which they are made. */
export function changesInOrder(rules: CompleteRules): ChangeKind[] {
  const order = rules.steps ?? stepNames;
  const isOn = (step: StepName): step is ChangeKind =>
    isChange(step) && rules.changes[step].enabled;
  return order.filter(isOn);
}

function doubledStep(steps: readonly StepName[]): string | undefined {
  const doubled = steps.find((step, at) => steps.indexOf(step) !== at);
  return doubled === undefined ? undefined : `step ${doubled} is listed twice`;
}

function misplacedStep(steps: readonly StepName[]): string | undefined {
  for (const [at, step] of steps.entries()) {
    const before = steps.slice(0, at).find((earlier) => rank(earlier) > rank(step));
    if (before === undefined) continue;
    if (before === "sign") return `${step} follows the signature: nothing may change after sign`;
    const [own, other] = [classOf(step), classOf(before)];
    if (own === other) return `${step} must come before ${before}`;
    return `${own} ${step} follows ${other} ${before}; the order is ${classes.join(", ")}`;
  }
  return undefined;
}

/** A step that is on but not in the list would silently not be done. */
function unlistedStep(rules: CompleteRules, steps: readonly StepName[]): string | undefined {
  const isOn = (step: StepName) =>
    isChange(step) ? rules.changes[step].enabled : rules[step].enabled;
  const missing = stepNames.find((step) => isOn(step) && !steps.includes(step));
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

/** Place of the step's class, and within the checks virus before spam. */
function rank(step: StepName): number {
  const within = isChange(step) ? 0 : checkKinds.indexOf(step) / 10;
  return classes.indexOf(classOf(step)) + within;
}
