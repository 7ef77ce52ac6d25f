import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { Engine, SpamVerdict, VirusVerdict } from "@rs-agent/shared/mail/verdict.ts";
import { findingText } from "@rs-agent/shared/policy/disposition.ts";
import { formatDuration } from "@rs-agent/shared/policy/duration.ts";
import type { Plan } from "@rs-agent/shared/policy/plan.ts";
import { standingFindings } from "./interventions.ts";
import { age, bytes, field, instant, printable } from "./terminal.ts";

/** One mail's whole story for a person: what it is, what was decided and why, what comes next. */
export function explain(mail: MailRecord, children: readonly MailRecord[], now: Date): string {
  const sections = [
    head(mail, now),
    policy(mail),
    checks(mail),
    changes(mail),
    relay(mail),
    children.map((child) => field(child._id, `${child.state}: ${toOf(child)}`, 26)).join("\n"),
    field("next", nextAction(mail, now)),
    history(mail),
  ];
  return sections.filter((section) => section !== "").join("\n\n");
}

function head(mail: MailRecord, now: Date): string {
  const { smtp, origin, header, body } = mail;
  const { address, name, helo } = smtp.client;
  const client = [address, name, helo === "" ? "" : `HELO ${helo}`].filter((part) => part !== "");
  const via = `${origin.via} ${origin.name}, ${client.length > 0 ? client.join(", ") : "client unknown"}`;
  return [
    field("mail", mail._id),
    field("state", mail.reason === undefined ? mail.state : `${mail.state}: ${mail.reason}`),
    field("from", smtp.mailFrom === "" ? "<> (null sender)" : smtp.mailFrom),
    field("to", toOf(mail)),
    ...(header?.from === undefined ? [] : [field("From:", header.from)]),
    ...(header?.messageId === undefined ? [] : [field("Message-ID:", header.messageId)]),
    field("received", `${instant(mail.receivedAt)}, ${age(mail.receivedAt, now)}`),
    field("via", via),
    field("size", `${bytes(body.size)}, SHA-256 ${body.sha256}`),
    ...(mail.parentId === undefined ? [] : [field("part of", mail.parentId)]),
  ].join("\n");
}

function toOf({ recipients }: MailRecord): string {
  const shown = recipients.slice(0, 5).map(({ address }) => address);
  const more = recipients.length - shown.length;
  return shown.join(", ") + (more > 0 ? ` and ${String(more)} more` : "");
}

function policy({ plan }: MailRecord): string {
  if (plan === undefined) return field("policy", "not chosen yet");
  const tenant = plan.tenantId === undefined ? "no tenant's" : `of tenant ${plan.tenantId}`;
  return [
    field("policy", `${plan.policyIds.join(" over ")}, revision ${String(plan.revision)}`),
    field("", `${plan.direction} mail ${tenant}: ${whyOf(plan)}`),
  ].join("\n");
}

function whyOf({ direction }: Plan): string {
  return direction === "incoming"
    ? "by its recipient; the client is in no tenant's network"
    : "by the client's network or the listener, and the sender's address";
}

function checks(mail: MailRecord): string {
  const { plan, verdicts, overrides = [] } = mail;
  const lines = (["virus", "spam"] as const).flatMap((check) => {
    const verdict = verdicts[check];
    if (verdict === undefined) {
      const state = plan === undefined || plan[check] !== undefined ? "no verdict yet" : "off";
      return [field(check, state)];
    }
    return [field(check, findingIn(verdict, plan)), field("", circumstancesOf(verdict))];
  });
  const released = overrides.map(({ check, finding, by, at }) =>
    field("released", `${check} ${finding}, by ${by} at ${instant(at)}`),
  );
  return [...lines, ...released].join("\n");
}

function findingIn({ finding }: VirusVerdict | SpamVerdict, plan: Plan | undefined): string {
  if (finding.kind === "unchecked") {
    return findingText(finding) + (finding.detail === undefined ? "" : ` (${finding.detail})`);
  }
  if (finding.kind === "clean" || finding.kind === "infected") return findingText(finding);
  const limit = plan?.spam === undefined ? "" : `, the limit is ${String(plan.spam.threshold)}`;
  const rules = finding.rules.map(({ name, score }) =>
    score === undefined ? name : `${name}=${String(score)}`,
  );
  return `${String(finding.score)} points${limit}: ${rules.join(", ") || "no rule hit"}`;
}

function circumstancesOf(verdict: VirusVerdict | SpamVerdict): string {
  const { engine, worker, queueMs, workMs, blind } = verdict;
  const unseen = blind === undefined || blind.length === 0 ? "" : `, blind for ${blind.join(", ")}`;
  return `${engineText(engine)}, by ${worker}, ${timesText(queueMs, workMs)}${unseen}`;
}

/** `clamd 1.4.3, signatures 27500 of 2026-01-31`. */
export function engineText(engine: Engine | undefined): string {
  if (engine === undefined) return "no engine answered";
  const { name, version, signatureVersion, signatureAt } = engine;
  const date = signatureAt === undefined ? "" : ` of ${signatureAt.toISOString().slice(0, 10)}`;
  const signatures =
    signatureVersion === undefined ? "" : `, signatures ${signatureVersion}${date}`;
  return `${name} ${version}${signatures}`;
}

function timesText(queueMs: number, workMs: number): string {
  return `waited ${formatDuration(queueMs)}, worked ${formatDuration(workMs)}`;
}

function changes({ plan, enriched, disposition }: MailRecord): string {
  const asked = plan?.enrich?.settings.changes.map(({ kind }) => kind) ?? [];
  const decided = disposition === undefined ? [] : [field("disposition", disposition)];
  if (asked.length === 0) return decided.join("\n");
  if (enriched === undefined) {
    return [...decided, field("changes", `${asked.join(", ")}: not made yet`)].join("\n");
  }
  const { signature, notes, worker, queueMs, workMs, size } = enriched;
  const signed =
    signature === undefined ? "not signed" : `signed d=${signature.domain} s=${signature.selector}`;
  return [
    ...decided,
    field("changes", `${asked.join(", ")}; ${signed}; ${bytes(size)} to be sent`),
    field("", `by ${worker}, ${timesText(queueMs, workMs)}`),
    ...notes.map((note) => field("", note)),
  ].join("\n");
}

function relay({ recipients, route, plan, timings, unknown }: MailRecord): string {
  const way = route ?? plan?.route;
  const source = way?.sourceAddress === undefined ? "" : ` from ${way.sourceAddress}`;
  const times = timings?.relay;
  const shown = recipients.map(({ address, outcome, attempts, status, reply, at }) => {
    const tries = attempts > 0 ? `, ${String(attempts)} attempts` : "";
    const when = at === undefined ? "" : `, ${instant(at)}`;
    const answer = reply === undefined ? "" : `: ${[status, reply].join(" ")}`;
    return field("", `${address}: ${outcome}${when}${tries}${answer}`);
  });
  return [
    ...(way === undefined
      ? []
      : [field("route", `${way.protocol} ${way.host}:${String(way.port)}${source}`)]),
    ...(times === undefined ? [] : [field("", timesText(times.queueMs, times.workMs))]),
    field("recipients", String(recipients.length)),
    ...shown,
    ...(unknown === undefined
      ? []
      : [
          field(
            "unknown",
            `attempt ${String(unknown.attempt)} at ${unknown.connection}, ${instant(unknown.at)}`,
          ),
        ]),
  ].join("\n");
}

/** What will happen, or what a person has to do. */
export function nextAction(mail: MailRecord, now: Date): string {
  const { lease, state, dueAt } = mail;
  if (lease !== undefined && lease.until > now) {
    return `${lease.owner} works on it now (lease until ${instant(lease.until)})`;
  }
  const due = dueAt === undefined || dueAt <= now ? "due now" : `due ${age(dueAt, now)}`;
  switch (state) {
    case "incoming":
      return `waits for a dispatcher to plan it, ${due}`;
    case "processing":
      return `waits for ${mail.next ?? "a dispatcher"}, ${due}${waitingSince(mail, now)}`;
    case "ready":
      return `waits for the relay to ${mail.next ?? "its next hop"}, ${due}`;
    case "relaying":
      return `its last attempt's outcome is unknown; sent again ${due}`;
    case "held":
      return mail.heldUntil === undefined
        ? `a person must act: rs-agent retry-now ${mail._id}`
        : `held, tried again ${age(mail.heldUntil, now)}`;
    case "split":
      return "its parts go their own way";
    default:
      return finalAction(mail, now);
  }
}

function waitingSince({ uncheckedSince }: MailRecord, now: Date): string {
  if (uncheckedSince === undefined) return "";
  const { check, reason, at } = uncheckedSince;
  return `; no ${check} verdict (${reason}) since ${age(at, now)}`;
}

function finalAction(mail: MailRecord, now: Date): string {
  const { state, expireAt, _id } = mail;
  const kept = expireAt === undefined ? "kept for ever" : `removed ${age(expireAt, now)}`;
  if (state === "dead") return `nothing by itself, ${kept}; or: rs-agent dead retry ${_id}`;
  if (state !== "quarantined") return `nothing, ${kept}`;
  const overrides = standingFindings(mail).map(({ finding }) => ` --override '${finding}'`);
  return `nothing by itself, ${kept}; or: rs-agent quarantine release ${_id}${overrides.join("")}`;
}

function history(mail: MailRecord): string {
  const lines = mail.history.map(({ at, event, by, detail }) => {
    const who = by === undefined ? "" : ` (${by})`;
    return field(
      instant(at),
      printable(`${event}${who}${detail === undefined ? "" : `: ${detail}`}`),
      22,
    );
  });
  return ["history", ...lines].join("\n");
}
