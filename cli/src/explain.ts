import { restarts, type EventName } from "@rs-agent/shared/life/events.ts";
import type { MailState } from "@rs-agent/shared/life/states.ts";
import type { MailRecord, Recipient } from "@rs-agent/shared/mail/record.ts";
import type { Disposition } from "@rs-agent/shared/checks/consequence.ts";
import type { Plan } from "@rs-agent/shared/mail/plan.ts";
import { isUnreported } from "@rs-agent/shared/life/outcomes.ts";
import { askedIn, checksOf } from "@rs-agent/shared/checks/asked.ts";
import {
  checkOf,
  findingText,
  type CheckKind,
  type Verdict,
} from "@rs-agent/shared/checks/verdict.ts";
import type { Engine } from "@rs-agent/shared/checks/finding.ts";
import { rsAgent } from "./called-as.ts";
import { isUnread } from "@rs-agent/shared/mail/stub.ts";
import { shownId } from "@rs-agent/shared/store/foreign-bson.ts";
import { nextAction } from "./next-action.ts";
import { isNoMail } from "./no-mail.ts";
import type { SeenSystem } from "./seen-system.ts";
import { bytes, field } from "./terminal.ts";
import { age, instant, span } from "./times.ts";

/**
 * One mail's whole story for a person: what it is, what was decided and why, what comes next. `kin`
 * are the parts into which it was split, and our reports on it; `system` tells why a step that
 * should come next does not.
 */
export function explain(
  mail: MailRecord,
  kin: readonly MailRecord[],
  now: Date,
  system?: SeenSystem,
): string {
  const middle = isReadable(mail)
    ? [policy(mail), checks(mail), changes(mail), relay(mail)]
    : [recordOf(mail)];
  const sections = [
    head(mail, now),
    ...(mail.state === "split" ? [parts(kin)] : middle),
    ...kin.filter(({ origin }) => origin.via === "dsn").map(report),
    nextAction(mail, now, system),
    history(mail),
  ];
  return sections.filter((section) => section !== "").join("\n\n");
}

/**
 * False for a document that is not a mail, which we keep whole, and for a record that nobody has
 * read.
 */
function isReadable(mail: MailRecord): boolean {
  return !isNoMail(mail) && !isUnread(mail);
}

function recordOf(mail: MailRecord): string {
  const { _id, malformed, origin } = mail;
  if (malformed !== undefined) return field("record", JSON.stringify(malformed));
  const which = origin.record === undefined ? "" : ` _id ${shownId(origin.record)}`;
  const how = isUnread(mail) ? "" : `: ${rsAgent} dead show ${_id} --raw prints it`;
  return field("record", `of source ${origin.name}${which}${how}`);
}

function head(mail: MailRecord, now: Date): string {
  const { smtp, header, body, receivedAt, finalAt } = mail;
  const received = field("received", `${instant(receivedAt)}, ${age(receivedAt, now)}`);
  const state = [
    field("mail", mail._id),
    field("state", mail.reason === undefined ? mail.state : `${mail.state}: ${mail.reason}`),
  ];
  if (!isReadable(mail)) return [...state, received].join("\n");
  const took = finalAt === undefined ? "" : span(finalAt.getTime() - receivedAt.getTime());
  return [
    ...state,
    field("from", smtp.mailFrom === "" ? "<> (null sender)" : smtp.mailFrom),
    field("to", toOf(mail)),
    ...(header?.from === undefined ? [] : [field("From:", header.from)]),
    ...(header?.messageId === undefined ? [] : [field("Message-ID:", header.messageId)]),
    ...(header?.subject === undefined ? [] : [field("Subject:", header.subject)]),
    received,
    field("via", viaOf(mail)),
    ...(finalAt === undefined || mail.state === "split"
      ? []
      : [field("ended", `${instant(finalAt)}, after ${took}`)]),
    field("size", bytes(body.size)),
    field("SHA-256", body.sha256),
  ].join("\n");
}

function viaOf({ origin, smtp }: MailRecord): string {
  const { via, name } = origin;
  if (via === "split") return `split off ${name}`;
  if (via === "dsn") return `our own report on ${name}`;
  const entry = via === "source" ? sourceOf(origin) : name;
  const { address, name: clientName, helo } = smtp.client;
  if (address === "") return `${entry}, client unknown`;
  const client = [address, clientName, helo === "" ? "" : `HELO ${helo}`];
  return `${entry}, client ${client.filter((part) => part !== "").join(", ")}`;
}

function sourceOf({ name, record }: MailRecord["origin"]): string {
  return `source ${name}${record === undefined ? "" : `, record ${shownId(record)}`}`;
}

function toOf({ recipients }: MailRecord): string {
  const shown = recipients.slice(0, 5).map(({ address }) => address);
  const more = recipients.length - shown.length;
  return shown.join(", ") + (more > 0 ? ` and ${String(more)} more` : "");
}

/** The recipients of a split mail have their story in its parts. */
function parts(children: readonly MailRecord[]): string {
  if (children.length === 0) return field("parts", "they are gone");
  const blocks = children.map((child, at) => {
    const { _id, state, reason } = child;
    const text = `${_id}: ${reason === undefined ? state : `${state}: ${reason}`}`;
    return [field(at === 0 ? "parts" : "", text), ...recipientLines(child, 14)].join("\n");
  });
  return blocks.join("\n");
}

/** The report that told the sender of a failure. */
function report({ _id, state, reason, recipients }: MailRecord): string {
  const to = recipients.map(({ address }) => address).join(", ");
  const fate = reason === undefined ? state : `${state}: ${reason}`;
  return field("report", `${_id} to ${to}\n${fate}`);
}

function policy(mail: MailRecord): string {
  const { plan, planRef } = mail;
  const from = plan ?? planRef;
  if (from === undefined) return field("policy", "not chosen yet");
  const documents = `${from.policyIds.join(" over ")}, revision ${String(from.revision)}`;
  const why = plan === undefined ? "what it said is not kept any more" : whyOf(mail, plan);
  return [field("policy", documents), field("", why)].join("\n");
}

/**
 * By how the mail came in and, for incoming mail, by its recipient; never by what the mail says.
 */
function whyOf({ origin, smtp }: MailRecord, { direction, tenantId }: Plan): string {
  const tenant = tenantId === undefined ? "no tenant" : `tenant ${tenantId}`;
  const client = smtp.client.address === "" ? "the client" : smtp.client.address;
  if (origin.via === "dsn") return "our own report: it is never checked";
  if (direction === "incoming") {
    const owner = tenantId === undefined ? "the recipient's domain belongs to no tenant" : tenant;
    const by = tenantId === undefined ? owner : `${owner} by the recipient's domain`;
    const way =
      origin.incoming === true
        ? `its source takes no outgoing mail from ${client}`
        : `${client} is in no tenant's network`;
    return `incoming mail: ${way}; ${by}`;
  }
  if (origin.tenantId !== undefined)
    return `outgoing mail: its listener or source is that of ${tenant}`;
  if (origin.outgoing === true)
    return `outgoing mail of ${tenant}: its listener or source is for outgoing mail`;
  return `outgoing mail: ${client} is in a network of ${tenant}`;
}

function checks(mail: MailRecord): string {
  const lines = checksOf(mail).flatMap((check) => {
    const verdict = mail.verdicts[check];
    if (verdict === undefined) return [field(check, withoutVerdict(mail, check))];
    const waitedMs = waitOf(mail, check, verdict);
    return [
      field(check, findingIn(check, verdict, mail.plan)),
      field("", circumstancesOf(verdict, waitedMs)),
    ];
  });
  const released = (mail.overrides ?? []).map(({ check, finding, by, at }) =>
    field("released", `${findingOf(check, finding)}, by ${by} at ${instant(at)}`),
  );
  return [...lines, ...released].join("\n");
}

function findingOf(check: CheckKind, finding: string): string {
  return finding === check ? finding : `${check} ${finding}`;
}

function withoutVerdict({ plan, finalAt }: MailRecord, check: CheckKind): string {
  if (plan !== undefined && askedIn(plan, check) === undefined) return "off";
  return finalAt === undefined ? "no verdict yet" : "not checked: the mail ended before";
}

function findingIn(check: CheckKind, { finding }: Verdict, plan: Plan | undefined): string {
  if (finding.kind !== "unchecked") return checkOf(check).wordsOf(finding, askedIn(plan, check));
  return findingText(check, finding) + (finding.detail === undefined ? "" : ` (${finding.detail})`);
}

/**
 * How many milliseconds the mail waited for this step after the previous one ended: for a worker,
 * in its queue, and while the step was paused or nobody was able to do it.
 */
function waitOf(
  mail: MailRecord,
  step: CheckKind | "enrich",
  { at, queueMs, workMs }: { at: Date; queueMs: number; workMs: number },
): number {
  const { plan, verdicts, receivedAt, history } = mail;
  const checks = checksOf(mail);
  const earlier =
    step === "enrich"
      ? checks
      : checks.slice(0, plan?.order === "parallel" ? 0 : checks.indexOf(step));
  const before = [
    receivedAt,
    ...earlier.map((check) => verdicts[check]?.at),
    ...history.filter(({ event }) => restarts.includes(event)).map((entry) => entry.at),
  ].flatMap((instantBefore) => (instantBefore === undefined ? [] : [instantBefore.getTime()]));
  const since = Math.max(...before.filter((ms) => ms <= at.getTime()));
  if (!Number.isFinite(since)) return queueMs;
  return Math.max(queueMs, at.getTime() - workMs - since);
}

function circumstancesOf(verdict: Verdict, waitedMs: number): string {
  const { engine, worker, workMs, blind, askedFor } = verdict;
  const unseen = blind === undefined || blind.length === 0 ? "" : `, blind for ${blind.join(", ")}`;
  const shared = askedFor === undefined ? "" : `, asked for ${askedFor}`;
  return `${engineText(engine)}, by ${worker}, ${timesText(waitedMs, workMs)}${unseen}${shared}`;
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

function timesText(waitedMs: number, workMs: number): string {
  return `waited ${span(waitedMs)}, worked ${span(workMs)}`;
}

function changes(mail: MailRecord): string {
  const { plan, enriched, disposition, finalAt, state } = mail;
  const asked = plan?.enrich?.settings.changes.map(({ kind }) => kind) ?? [];
  const isSaid = disposition === undefined || stateBy[disposition] === state;
  const decided = isSaid ? [] : [field("disposition", disposition)];
  if (asked.length === 0 && enriched === undefined) return decided.join("\n");
  if (enriched === undefined) {
    const why = finalAt === undefined ? "not made yet" : "not made";
    return [...decided, field("changes", `${asked.join(", ")}: ${why}`)].join("\n");
  }
  const { signature, notes, worker, workMs, size, mailFrom } = enriched;
  const signed =
    signature === undefined ? "not signed" : `signed d=${signature.domain} s=${signature.selector}`;
  return [
    ...decided,
    field("changes", `${asked.join(", ") || "none"}; ${signed}; ${bytes(size)} to be sent`),
    field("", `by ${worker}, ${timesText(waitOf(mail, "enrich", enriched), workMs)}`),
    ...(mailFrom === undefined ? [] : [field("", `SMTP sender rewritten to ${mailFrom}`)]),
    ...notes.map((note) => field("", note)),
  ].join("\n");
}

function relay(mail: MailRecord): string {
  const { route, plan, timings, unknown } = mail;
  const way = route ?? plan?.route;
  const source = way?.sourceAddress === undefined ? "" : ` from ${way.sourceAddress}`;
  const times = timings?.relay;
  const isTried = mail.recipients.some(({ attempts }) => attempts > 0);
  const isWay = way !== undefined && (isTried || mail.finalAt === undefined);
  return [
    ...(isWay ? [field("route", `${way.protocol} ${way.host}:${String(way.port)}${source}`)] : []),
    ...(times === undefined ? [] : [field("", timesText(times.queueMs, times.workMs))]),
    field("recipients", String(mail.recipients.length)),
    ...recipientLines(mail),
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

function recipientLines({ recipients }: MailRecord, margin = 12): string[] {
  return recipients.flatMap((recipient) => {
    const { address, outcome, at, attempts } = recipient;
    const untold = isUnreported(recipient) ? ", report: none" : "";
    const when = at === undefined ? "" : ` ${instant(at)}`;
    const tries = attempts === 0 ? "" : `, ${String(attempts)} attempt${attempts > 1 ? "s" : ""}`;
    const answer = lastReply(recipient);
    return [
      field("", `${address}: ${outcome}${when}${tries}${untold}`, margin),
      ...(answer === "" ? [] : [field("", answer, margin + 2)]),
    ];
  });
}

/** The state to which a disposition leads: a mail in that state needs no further words. */
const stateBy: Partial<Record<Disposition, MailState>> = {
  quarantine: "quarantined",
  discard: "discarded",
  reject: "bounced",
};

/** The hop's words, whole, preceded by the status if they do not contain it. */
function lastReply({ status, reply }: Recipient): string {
  if (reply === undefined) return status ?? "";
  return status === undefined || reply.includes(status) ? reply : `${status}: ${reply}`;
}

/** What an entry leaves to the record. */
function knownOf({ origin, plan, planRef }: MailRecord, event: EventName): string | undefined {
  if (event === "accepted") return origin.name;
  const documents = (plan ?? planRef)?.policyIds;
  return event === "planned" && documents !== undefined
    ? `policy ${documents.join(" > ")}`
    : undefined;
}

function history(mail: MailRecord): string {
  const lines = mail.history.map((entry) => {
    const { at, event, by, detail = knownOf(mail, event) } = entry;
    const who = by === undefined ? "" : ` (${by})`;
    return field(instant(at), `${event}${who}${detail === undefined ? "" : `: ${detail}`}`, 22);
  });
  return ["history", ...lines].join("\n");
}
