import { rsAgent } from "./called-as.ts";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import type { ProvenSender } from "@rs-agent/shared/mail/authentication/sender-proof.ts";
import type { FailedRecipient } from "@rs-agent/shared/mail/dsn.ts";
import type {
  HistoryEntry,
  MailRecord,
  MailState,
  Override,
  Recipient,
} from "@rs-agent/shared/mail/record.ts";
import { finalStateOf, recipientsWith, retentionUntil } from "@rs-agent/shared/mail/state.ts";
import type { CheckKind } from "@rs-agent/shared/checks/verdict.ts";
import { laneOf } from "@rs-agent/shared/mail/lane.ts";
import { findingText, nextStep } from "@rs-agent/shared/policy/disposition.ts";
import type { MailChange } from "@rs-agent/shared/store/mails.ts";
import { isNoMail, wayOutOf } from "./no-mail.ts";
import { printable } from "./terminal.ts";

/**
 * What a person may do with a mail, as pure functions: the record in, the guarded change out. None
 * makes a mail `ready`: what goes on goes through `processing`, where every step that is missing is
 * still taken (I2), or back to where it waited. Recipients with an outcome of their own keep it (I1).
 */
export interface Intervention {
  /** The change holds only while the mail is in this state and nobody works on it. */
  states: readonly MailState[];
  change: MailChange;
  /** The sender is told of these, durably, before the change is written. */
  report?: { failed: readonly FailedRecipient[]; proof: ProvenSender };
  /** What was done, for the person. */
  told: string;
}

export interface Actor {
  /** The person's name, for the record. */
  by: string;
  /** The database's time. */
  now: Date;
  /** Of the policy that is stored now. */
  policyRevision?: number | undefined;
}

/** A finding that keeps a mail back, under the name by which a release overrides it. */
export interface NamedFinding {
  check: CheckKind;
  finding: string;
}

/** The findings that stand against this mail and that nobody has overridden yet. */
export function standingFindings({ verdicts, plan, overrides }: MailRecord): NamedFinding[] {
  const found: NamedFinding[] = [];
  const virus = verdicts.virus?.finding;
  if (virus !== undefined && virus.kind !== "clean") {
    found.push({ check: "virus", finding: findingText(virus) });
  }
  const spam = verdicts.spam?.finding;
  if (spam?.kind === "unchecked") found.push({ check: "spam", finding: findingText(spam) });
  else if (spam !== undefined && spam.score >= (plan?.spam?.threshold ?? spam.required)) {
    found.push({ check: "spam", finding: "spam" });
  }
  const isOverridden = (one: NamedFinding) =>
    (overrides ?? []).some(({ check, finding }) => check === one.check && finding === one.finding);
  return found.filter((one) => !isOverridden(one));
}

/**
 * Those of the standing findings that a release has to name, and no other: a finding that policy lets
 * pass marked is not overridden by accident.
 */
export function blockingFindings(mail: MailRecord, now: Date): NamedFinding[] {
  const standing = standingFindings(mail);
  const { plan } = mail;
  if (plan === undefined) return standing;
  const isKeptBackBy = (one: NamedFinding) => {
    const others = standing.filter((other) => other !== one);
    const overrides = [...(mail.overrides ?? []), ...others.map((other) => by("", other, now))];
    const { kind } = nextStep({ ...mail, plan, overrides, rawSha256: mail.body.sha256, now });
    return ["quarantine", "discard", "reject", "hold", "wait"].includes(kind);
  };
  const blocking = standing.filter(isKeptBackBy);
  return blocking.length === 0 ? standing : blocking;
}

function by(person: string, one: NamedFinding, at: Date): Override {
  return { ...one, by: person, at };
}

/**
 * As a terminal shows it and a shell takes it; the name of a finding comes from a signature and may
 * hold anything.
 */
export function quoted(text: string): string {
  return `'${printable(text).replaceAll("'", String.raw`'\''`)}'`;
}

/** Whether a person who copied it from the screen, where lines wrap, means this finding. */
function isNamed(finding: string, named: readonly string[]): boolean {
  const bare = (text: string) => printable(text).replace(/\s+/g, "");
  return named.some((name) => bare(name) === bare(finding));
}

/**
 * Lets a mail pass the findings that the person names; it then takes every step that it has not had.
 * @throws TerminalError CLI_REFUSED where none or a finding is named that does not stand against it
 */
export function release(mail: MailRecord, named: readonly string[], actor: Actor): Intervention {
  const states = ["quarantined", "held"] as const;
  demandState(mail, states, "be released");
  const standing = standingFindings(mail);
  const list = blockingFindings(mail, actor.now)
    .map(({ finding }) => `--override ${quoted(finding)}`)
    .join(" ");
  const unknown = named.find((name) => !standing.some(({ finding }) => isNamed(finding, [name])));
  if (unknown !== undefined || (named.length === 0 && standing.length > 0)) {
    const said = unknown === undefined ? "a release names its finding" : `it has no '${unknown}'`;
    throw refused(mail, `${said}; what keeps it back: ${list === "" ? "no finding" : list}`);
  }
  const chosen = standing.filter(({ finding }) => isNamed(finding, named));
  const overrides: Override[] = [
    ...(mail.overrides ?? []),
    ...chosen.map((one) => by(actor.by, one, actor.now)),
  ].slice(-10);
  const detail =
    chosen.length === 0
      ? "no finding stood against it"
      : `overrides ${chosen.map(({ finding }) => finding).join(" and ")}`;
  return {
    states: [mail.state],
    change: {
      set: {
        ...backToWork({ ...mail, overrides }, actor.now),
        queuedAt: actor.now,
        overrides,
        recipients: reopened(mail.recipients, ({ outcome }) => outcome === "quarantined"),
      },
      unset: [...finalFields, "uncheckedSince"],
      history: entry(actor, "released", detail),
    },
    told: `released: ${detail}`,
  };
}

/** As `hold` writes it. */
export function isHeldByPerson({ history, reason }: MailRecord): boolean {
  const last = history.findLast(({ event }) => event === "held");
  return last?.by !== undefined && reason === heldBy(last.by);
}

function heldBy(person: string): string {
  return `held by ${person}`;
}

/** Kept back for a person, or until an instant. */
export function hold(mail: MailRecord, actor: Actor, until?: Date): Intervention {
  demandState(mail, ["incoming", "processing", "ready", "relaying", "held"], "be held");
  const reason = heldBy(actor.by);
  const untilFields = { next: "retry", dueAt: until, heldUntil: until };
  return {
    states: [mail.state],
    change: {
      set: { state: "held", reason, ...(until !== undefined && untilFields) },
      unset: until === undefined ? ["next", "dueAt", "heldUntil"] : [],
      history: entry(actor, "held", until === undefined ? undefined : until.toISOString()),
    },
    told: until === undefined ? "held until retry-now" : `held until ${until.toISOString()}`,
  };
}

/** Given up without a report: every open recipient is discarded. */
export function cancel(mail: MailRecord, actor: Actor): Intervention {
  demandState(mail, ["incoming", "processing", "ready", "held"], "be cancelled");
  const recipients = recipientsWith(mail.recipients, "discarded", actor.now);
  const state = finalStateOf(recipients) ?? "discarded";
  const expireAt = retentionUntil(state, mail, actor.now);
  return {
    states: [mail.state],
    change: {
      set: {
        state,
        recipients,
        reason: `cancelled by ${actor.by}`,
        finalAt: actor.now,
        ...(expireAt !== undefined && { expireAt }),
      },
      unset: ["next", "dueAt", "heldUntil", "uncheckedSince"],
      history: entry(actor, "cancelled"),
    },
    told: "cancelled: open recipients are discarded",
  };
}

/** A dead letter from the start again, with what is known of it; its strikes are forgiven. */
export function retryDead(mail: MailRecord, actor: Actor): Intervention {
  demandState(mail, ["dead"], "be tried again this way");
  if (isNoMail(mail)) {
    throw refused(mail, `it was never a mail that could be read; ${wayOutOf(mail)}`);
  }
  return {
    states: ["dead"],
    change: {
      set: {
        ...backToWork(mail, actor.now),
        queuedAt: actor.now,
        recipients: reopened(mail.recipients, ({ outcome }) => outcome === "dead"),
      },
      unset: [...finalFields, "strikes", "unbegun", "claims", "unended", "alone", "uncheckedSince"],
      history: entry(actor, "dead letter tried again"),
    },
    told: "tried again, due now",
  };
}

/** Final mail that nobody wants to keep: the next sweep removes it with its body. */
export function drop(mail: MailRecord, state: "dead" | "quarantined", actor: Actor): Intervention {
  demandState(mail, [state], "be deleted this way");
  return {
    states: [state],
    change: { set: { expireAt: actor.now }, history: entry(actor, "deleted") },
    told: "deleted: the next sweep removes it with its body",
  };
}

export const finalFields = ["finalAt", "expireAt", "heldUntil", "reason", "disposition"] as const;

/** Where the mail waits next: by the same function that the dispatcher asks. */
export function backToWork(mail: MailRecord, now: Date) {
  const { plan } = mail;
  if (plan === undefined) return { state: "incoming", next: "plan", dueAt: now };
  const step = nextStep({
    plan,
    verdicts: mail.verdicts,
    enriched: mail.enriched,
    overrides: mail.overrides,
    rawSha256: mail.body.sha256,
    now,
  });
  const isCheck = step.kind === "check" || step.kind === "wait";
  const check =
    step.kind === "check" ? step.tasks[0] : step.kind === "wait" ? step.check : undefined;
  const next = isCheck && check ? laneOf(check, plan[check]?.settings) : "enrich";
  return { state: "processing", next, dueAt: now };
}

export function reopened(
  recipients: readonly Recipient[],
  isMeant: (recipient: Recipient) => boolean,
): Recipient[] {
  return recipients.map((recipient) => {
    if (!isMeant(recipient)) return recipient;
    const { address } = recipient;
    return { address, outcome: "open", attempts: 0 };
  });
}

/** What to do instead, for the states that have an own way. */
const ways: Partial<Record<MailState, string>> = {
  quarantined: `${rsAgent} quarantine release`,
  dead: `${rsAgent} dead retry`,
  held: `${rsAgent} retry-now`,
};

/** `what`: the infinitive of what is asked for, in the passive. */
export function demandState(mail: MailRecord, states: readonly MailState[], what: string): void {
  if (states.includes(mail.state)) return;
  if (mail.state === "split") {
    throw refused(mail, `its parts go their own way: ${rsAgent} explain ${mail._id} names them`);
  }
  const [last = "", ...others] = [...states].reverse();
  const list = others.length === 0 ? last : `${others.reverse().join(", ")} or ${last}`;
  const way = isNoMail(mail) ? undefined : ways[mail.state];
  const hint = way === undefined ? "" : `; see ${way} ${mail._id}`;
  throw refused(mail, `only mail that is ${list} can ${what}${hint}`);
}

export function refused(mail: MailRecord, why: string): TerminalError {
  return new TerminalError("CLI_REFUSED", `${mail._id} is ${mail.state}: ${why}`);
}

export function entry({ by, now }: Actor, event: string, detail?: string): HistoryEntry {
  return { at: now, event, by, ...(detail !== undefined && { detail: detail.slice(0, 1000) }) };
}
