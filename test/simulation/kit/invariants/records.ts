import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { CheckKind, Finding } from "@rs-agent/shared/checks/verdict.ts";
import type { Doc } from "../database/document.ts";
import type { Plan } from "@rs-agent/shared/mail/plan.ts";
import { expanded } from "@rs-agent/shared/store/record-form.ts";
import type { Entry, ReplicaSet } from "../database/replica-set.ts";

/** What the invariants read from records. */

/** Clocks are measured, not known: a lease may seem to end too early by this much. */
export const clockErrorMs = 250;

/** As services read them. */
export function mailsIn(set: ReplicaSet, whose: "majority" | "local" = "majority"): MailRecord[] {
  return [...set[whose]("mails").values()].map(mailOf);
}

/** Plans by the hash of their content, whichever schedule made them and whoever removed them. */
const plans = new Map<string, Plan>();

export function rememberPlan({ _id, plan }: Doc): void {
  plans.set(_id, plan as Plan);
}

/** Documents are never changed. */
const known = new WeakMap<Doc, MailRecord>();

export function mailOf(doc: Doc): MailRecord {
  const mail = known.get(doc) ?? asRead(doc);
  known.set(doc, mail);
  return mail;
}

function asRead(doc: Doc): MailRecord {
  const mail = expanded(doc) as MailRecord;
  const { planRef } = mail;
  const plan = planRef && plans.get(planRef.hash);
  if (planRef === undefined || plan === undefined) return mail;
  const { policyIds, revision } = planRef;
  return { ...mail, plan: { ...plan, policyIds, revision }, route: plan.route };
}

/** The id of the message, which a split's children share. */
export function messageOf(mail: MailRecord): string {
  return /^<([^@]+)@/.exec(mail.header?.messageId ?? "")?.[1] ?? mail._id;
}

/** SpamAssassin points, if there are any. */
export function scoreOf(finding: Finding | undefined): number | undefined {
  return finding?.kind === "ham" || finding?.kind === "spam" ? finding.score : undefined;
}

/** Whether a person lets the mail pass this finding. */
export function isOverridden(mail: MailRecord, check: CheckKind, finding: Finding): boolean {
  return (mail.overrides ?? []).some(
    (one) => one.check === check && one.finding.startsWith(finding.kind),
  );
}

/** How often the mail was sent although a hop might already have had it. */
export function timesSentAgain(mail: MailRecord): number {
  return mail.history.filter(({ event }) => event === "sent again").length;
}

const untold = new Set(["rev", "wrote", "history", "plan", "planRef"]);

/** A write as a line of the trace. */
export function shownWrite({ kind, fields, before, after }: Entry): string {
  if (kind === "insert") return `inserts, ${String(after?.state)}`;
  const told = Object.entries(fields)
    .filter(([name]) => !untold.has(name))
    .map(([name, value]) => `${name}=${brief(value)}`);
  const gone = Object.keys(before ?? {}).filter((name) => !(name in (after ?? {})));
  return `writes ${told.join(" ")}${gone.length === 0 ? "" : ` without ${gone.join(" ")}`}`;
}

function brief(value: unknown): string {
  if (value instanceof Date) return value.toISOString().slice(14, 23);
  const text = JSON.stringify(value, (_name, inner: unknown) =>
    Buffer.isBuffer(inner) ? `${inner.length} bytes` : inner,
  );
  return text.length > 160 ? `${text.slice(0, 160)}…` : text;
}
