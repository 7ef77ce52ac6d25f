import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { CheckKind, Finding } from "@rs-agent/shared/checks/verdict.ts";
import type { Doc } from "../database/document.ts";
import type { Entry } from "../database/replica-set.ts";

/** What the invariants read out of records. */

/** Clocks are measured, not known: by so much a lease may seem to end too early. */
export const clockErrorMs = 250;

export function mailsIn(docs: ReadonlyMap<string, Doc>): MailRecord[] {
  return [...docs.values()] as unknown as MailRecord[];
}

/** Id of the message, which a split's children share. */
export function messageOf(mail: MailRecord): string {
  return /^<([^@]+)@/.exec(mail.header?.messageId ?? "")?.[1] ?? mail._id;
}

/** SpamAssassin points, if there are some. */
export function scoreOf(finding: Finding | undefined): number | undefined {
  return finding?.kind === "ham" || finding?.kind === "spam" ? finding.score : undefined;
}

/** A person lets the mail pass this finding. */
export function isOverridden(mail: MailRecord, check: CheckKind, finding: Finding): boolean {
  return (mail.overrides ?? []).some(
    (one) => one.check === check && one.finding.startsWith(finding.kind),
  );
}

/** Times that the mail was sent although a hop might have had it already. */
export function timesSentAgain(mail: MailRecord): number {
  return mail.history.filter(({ event }) => event === "sent again").length;
}

/** A write in a line of the trace. */
export function shownWrite({ kind, fields, before, after }: Entry): string {
  if (kind === "insert") return `inserts, ${String(after?.state)}`;
  const told = Object.entries(fields)
    .filter(([name]) => name !== "rev" && name !== "wrote" && name !== "history" && name !== "plan")
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
