import { settingsHashOf } from "../mail/task-settings.ts";
import type { Enriched, Override } from "../mail/record.ts";
import { askedIn, checksIn } from "../checks/asked.ts";
import type { Disposition, UncheckedRules } from "../checks/consequence.ts";
import type { UncheckedFinding, UncheckedReason } from "../checks/finding.ts";
import { builtInNames } from "../checks/built-in-checks.ts";
import {
  answeredIn,
  answerIn,
  checkOf,
  findingText,
  isBuiltIn,
  type Answered,
  type CheckKind,
  type Verdicts,
} from "../checks/verdict.ts";
import type { Plan } from "../mail/plan.ts";
import { formatDuration } from "../duration.ts";

/** The two dispositions with which a mail may leave. */
export type Deliverable = "deliver" | "tag";

/** What has to happen next to a mail that is being processed. */
export type Step =
  /** Ask for these checks; more than one only if the plan is parallel. */
  | { kind: "check"; tasks: CheckKind[] }
  /** The check failed for a transient reason; after `until`, the plan's `then` applies. */
  | { kind: "wait"; check: CheckKind; reason: UncheckedReason; until: Date }
  | { kind: "enrich"; disposition: Deliverable }
  | { kind: "ready"; disposition: Deliverable }
  | { kind: "quarantine" | "discard" | "reject" | "hold"; reason: string };

export interface StepInput {
  plan: Plan;
  verdicts: Verdicts;
  enriched?: Enriched | undefined;
  overrides?: readonly Override[] | undefined;
  /** The first failure of the check that the mail waits for; `wait` counts from here. */
  uncheckedSince?: { check: CheckKind; reason: UncheckedReason; at: Date } | undefined;
  /** SHA-256 (hex) of the raw mail: a verdict on other bytes does not count. */
  rawSha256: string;
  now: Date;
}

/** What one check says so far. */
type Ruling =
  | { kind: "missing" }
  | { kind: "wait"; reason: UncheckedReason; until: Date }
  | { kind: "ruled"; disposition: Disposition; reason: string };

/** From mildest to worst; if several checks rule, the worst ruling holds. */
const severity: readonly Disposition[] = [
  "deliver",
  "tag",
  "hold",
  "quarantine",
  "reject",
  "discard",
];

/**
 * The next step of a mail, from its plan and what is known. Guards I2 and I10:
 *
 * 1. `ready` only if every check of the plan has a verdict on the raw mail with the plan's settings
 *    that allows it, or the rule for that `unchecked` reason or a person's override does.
 * 2. An infected mail is never `ready` without an override that names this finding, even if the
 *    plan no longer has a virus check.
 * 3. `ready` only with the signature that the plan demands, over an enrichment that is up to date.
 *
 * A transient `unchecked` verdict gives `wait`; to ask the engine again, call without that verdict.
 * A dispatcher that cannot place a check records this with {@link uncheckedVerdict}.
 */
export function nextStep(input: StepInput): Step {
  const rulings = rulingsOn(input);
  const ruled = rulings.flatMap(({ ruling }) => (ruling.kind === "ruled" ? [ruling] : []));
  const worst = ruled.reduce(worse, deliver);
  const open = rulings.findIndex(({ ruling }) => ruling.kind !== "ruled");
  if (open === -1) {
    const { disposition } = worst;
    return isDeliverable(disposition)
      ? enrichOrReady(input, disposition)
      : dispose(input.plan, worst);
  }
  // A decision of the first checks need not wait for the others.
  const isSettled = ruled.slice(0, open).some(({ disposition }) => !isDeliverable(disposition));
  return isSettled ? dispose(input.plan, worst) : openStep(input.plan, rulings.slice(open));
}

/**
 * Hash over what goes into the headers: if finding, engine or disposition changes, the enrichment
 * is out of date. The same before and after a round trip through the database.
 */
export function verdictsHashOf(verdicts: Verdicts, disposition: Deliverable): string {
  const told = (check: CheckKind) => {
    const verdict = verdicts[check];
    if (verdict === undefined) return null;
    const { name, version, signatureVersion, signatureAt } = verdict.engine ?? {};
    const signatures = [signatureVersion ?? null, signatureAt?.toISOString() ?? null];
    return [verdict.finding, name ?? null, version ?? null, signatures, verdict.blind ?? []];
  };
  const own = answeredIn(verdicts).filter((check) => !isBuiltIn(check));
  return settingsHashOf([
    disposition,
    builtInNames.map(told),
    ...own.map((check) => [check, told(check)]),
  ]);
}

/** What {@link uncheckedVerdict} records. */
export interface UncheckedStatement {
  reason: UncheckedReason;
  /** For a person, up to 1000 characters. */
  detail?: string;
  /** The plan's settings hash of that check, and the raw mail's SHA-256. */
  settingsHash: string;
  sha256: string;
  /** The actor that records it. */
  worker: string;
  now: Date;
}

/** Our own verdict on a check that could not be done; fits every check. */
export function uncheckedVerdict(statement: UncheckedStatement) {
  const { reason, detail, settingsHash, sha256, worker, now } = statement;
  const finding: UncheckedFinding = {
    kind: "unchecked",
    reason,
    ...(detail !== undefined && { detail }),
  };
  return { finding, settingsHash, sha256, worker, queueMs: 0, workMs: 0, at: now };
}

interface CheckRuling {
  check: CheckKind;
  ruling: Ruling;
}

/** The ruling of each check that has a say, in the order in which they are asked. */
function rulingsOn(input: StepInput): CheckRuling[] {
  const { plan, verdicts } = input;
  const isAsked = new Set(checksIn(plan));
  const outliving = answeredIn(verdicts).filter(
    (check) => !isAsked.has(check) && checkOf(check).outlivesPolicy === true,
  );
  return [...outliving, ...isAsked].map((check) => ({ check, ruling: rulingOf(input, check) }));
}

function rulingOf(input: StepInput, check: CheckKind): Ruling {
  const asked = askedIn(input.plan, check);
  const recorded = input.verdicts[check];
  if (asked === undefined) return ruleOnAnswer(input, check, answerIn(recorded?.finding));
  const verdict = counts(recorded, asked.settingsHash, input) ? recorded : undefined;
  if (verdict === undefined) return { kind: "missing" };
  const { finding, at } = verdict;
  if (finding.kind === "unchecked")
    return ruleOnUnchecked(input, check, finding, at, asked.unchecked);
  return ruleOnAnswer(input, check, finding);
}

function ruleOnAnswer(input: StepInput, check: CheckKind, found: Answered | undefined): Ruling {
  const asked = askedIn(input.plan, check);
  const entry = checkOf(check);
  if (found === undefined || !entry.isFinding(found, asked)) return deliver;
  if (isOverridden(input, check, findingText(check, found))) return deliver;
  return { kind: "ruled", ...entry.ruleOn(found, asked) };
}

function ruleOnUnchecked(
  input: StepInput,
  check: CheckKind,
  finding: UncheckedFinding,
  verdictAt: Date,
  rules: UncheckedRules,
): Ruling {
  const text = findingText(check, finding);
  if (isOverridden(input, check, text)) return deliver;
  const { action, waitMs = 0, then = "quarantine" } = rules[finding.reason];
  const named = `${check} ${text}`;
  if (action !== "wait") return settled(action, named);
  const { uncheckedSince, now } = input;
  const since = uncheckedSince?.check === check ? uncheckedSince.at : verdictAt;
  const until = new Date(since.getTime() + waitMs);
  if (now < until) return { kind: "wait", reason: finding.reason, until };
  return settled(then, `${named}, waited ${formatDuration(waitMs)}`);
}

function settled(action: "pass" | "quarantine", reason: string): Ruling {
  return { kind: "ruled", disposition: action === "pass" ? "tag" : "quarantine", reason };
}

const deliver: Ruling & { kind: "ruled" } = {
  kind: "ruled",
  disposition: "deliver",
  reason: "",
};

/** I2: only a verdict on exactly these bytes, with the settings that the plan asks for, counts. */
function counts(
  verdict: { sha256: string; settingsHash: string } | undefined,
  settingsHash: string,
  { rawSha256 }: StepInput,
): boolean {
  return verdict?.sha256 === rawSha256 && verdict.settingsHash === settingsHash;
}

function isOverridden({ overrides }: StepInput, check: CheckKind, text: string): boolean {
  return (overrides ?? []).some((one) => one.check === check && one.finding === text);
}

/** The checks that are still to be asked or waited for, in the plan's order. */
function openStep(plan: Plan, rulings: readonly CheckRuling[]): Step {
  const open = rulings.filter(({ ruling }) => ruling.kind !== "ruled");
  const inReach = plan.order === "parallel" ? open : open.slice(0, 1);
  const missing = inReach.filter(({ ruling }) => ruling.kind === "missing");
  if (missing.length > 0) return { kind: "check", tasks: missing.map(({ check }) => check) };
  for (const { check, ruling } of inReach) {
    if (ruling.kind === "wait") {
      return { kind: "wait", check, reason: ruling.reason, until: ruling.until };
    }
  }
  throw new Error("no check is open");
}

function worse<R extends Ruling & { kind: "ruled" }>(a: R, b: R): R {
  return severity.indexOf(b.disposition) > severity.indexOf(a.disposition) ? b : a;
}

function isDeliverable(disposition: Disposition): disposition is Deliverable {
  return disposition === "deliver" || disposition === "tag";
}

/**
 * `reject` bounces only outgoing mail, to our own tenant: a stranger gets no backscatter from us.
 */
function dispose(plan: Plan, ruling: Ruling & { kind: "ruled" }): Step {
  const { disposition, reason } = ruling;
  if (isDeliverable(disposition)) throw new Error("a deliverable mail is not disposed of");
  if (disposition === "reject" && plan.direction === "incoming") {
    return { kind: "quarantine", reason };
  }
  return { kind: disposition, reason };
}

function enrichOrReady(input: StepInput, disposition: Deliverable): Step {
  const { plan, verdicts, enriched } = input;
  const { changes, noKey } = plan.enrich?.settings ?? { changes: [] };
  const isAsked = changes.length > 0 || noKey === true;
  const isCurrent =
    enriched !== undefined &&
    enriched.settingsHash === plan.enrich?.settingsHash &&
    enriched.verdictsHash === verdictsHashOf(verdicts, disposition);
  if (isAsked && !isCurrent) return { kind: "enrich", disposition };
  const demanded = plan.demandedSignature;
  const made = isAsked ? enriched?.signature : undefined;
  if (demanded === undefined) return { kind: "ready", disposition };
  if (made?.domain === demanded.domain && made.selector === demanded.selector) {
    return { kind: "ready", disposition };
  }
  const { domain, selector } = demanded;
  return { kind: "hold", reason: `the signature d=${domain} s=${selector} is missing` };
}
