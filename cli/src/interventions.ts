import { rsAgent } from "./called-as.ts";
import { TerminalError } from "@rs-agent/shared/errors.ts";
import type { ProvenSender } from "@rs-agent/shared/mail/authentication/sender-proof.ts";
import type { FailedRecipient } from "@rs-agent/shared/mail/dsn.ts";
import type { MailRecord, Override } from "@rs-agent/shared/mail/record.ts";
import type { MailChange } from "@rs-agent/shared/life/change.ts";
import { held } from "@rs-agent/shared/life/endings.ts";
import type { Moment } from "@rs-agent/shared/life/events.ts";
import { cancelled, deadTakenUp, dropped, released } from "@rs-agent/shared/life/interventions.ts";
import type { MailState } from "@rs-agent/shared/life/states.ts";
import { mayTake, transitions, type TransitionName } from "@rs-agent/shared/life/transitions.ts";
import { isFinding } from "@rs-agent/shared/checks/asked.ts";
import { answeredIn, findingText, type CheckKind } from "@rs-agent/shared/checks/verdict.ts";
import { nextStep } from "@rs-agent/shared/policy/disposition.ts";
import { isUnread } from "@rs-agent/shared/mail/stub.ts";
import { isNoMail, wayOutOf } from "./no-mail.ts";
import { printable } from "./terminal.ts";

/**
 * What a person may do to a mail, as pure functions: the record goes in, the guarded change and its
 * description come out.
 */
export interface Intervention {
  /** The change is written only while the mail is in one of these states and no service holds it. */
  states: readonly MailState[];
  change: MailChange;
  /**
   * The sender gets a report about these recipients; it is stored durably before the change is
   * written.
   */
  report?: { failed: readonly FailedRecipient[]; proof: ProvenSender };
  /** What was done, in words for the person. */
  told: string;
}

export interface Actor extends Moment {
  /** The person's name, for the record. */
  by: string;
  /** The stored policies would give the mail the same plan again. */
  isSamePolicy?: boolean | undefined;
}

/** A finding that keeps a mail back, by the name with which a release overrides it. */
export interface NamedFinding {
  check: CheckKind;
  finding: string;
}

/** The findings that stand against this mail and that nobody has overridden yet. */
export function standingFindings({ verdicts, plan, overrides }: MailRecord): NamedFinding[] {
  const found = answeredIn(verdicts).flatMap((check): NamedFinding[] => {
    const finding = verdicts[check]?.finding;
    const stands = finding?.kind === "unchecked" || isFinding(check, finding, plan);
    return finding === undefined || !stands
      ? []
      : [{ check, finding: findingText(check, finding) }];
  });
  const isOverridden = (one: NamedFinding) =>
    (overrides ?? []).some(({ check, finding }) => check === one.check && finding === one.finding);
  return found.filter((one) => !isOverridden(one));
}

/**
 * The standing findings that a release has to name. No others are listed, so that a finding that
 * policy lets pass marked is not overridden by accident.
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
 * The text as a terminal shows it and a shell takes it; the name of a finding comes from a
 * signature and may contain anything.
 */
export function quoted(text: string): string {
  return `'${printable(text).replaceAll("'", String.raw`'\''`)}'`;
}

/** Whether a person who copied it from a screen, where lines wrap, means this finding. */
function isNamed(finding: string, named: readonly string[]): boolean {
  const bare = (text: string) => printable(text).replace(/\s+/g, "");
  return named.some((name) => bare(name) === bare(finding));
}

/**
 * Lets a mail pass the findings that the person names; it then takes every step that it has not
 * had.
 * @throws TerminalError CLI_REFUSED if no finding is named, or one that does not stand against it
 */
export function release(mail: MailRecord, named: readonly string[], actor: Actor): Intervention {
  demandState(mail, "be released", "released");
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
  const change = released(mail, { ...actor, overrides, detail });
  return { states: [mail.state], change, told: `released: ${detail}` };
}

/** Keeps a mail back for a person, or until an instant. */
export function hold(mail: MailRecord, actor: Actor, retryAt?: Date): Intervention {
  demandState(mail, "be held", "held");
  const reason = `held by ${actor.by}`;
  return {
    states: [mail.state],
    change: held(mail, { ...actor, cause: "person", reason, retryAt }),
    told: retryAt === undefined ? "held until retry-now" : `held until ${retryAt.toISOString()}`,
  };
}

/** Gives a mail up without a report: every open recipient is discarded. */
export function cancel(mail: MailRecord, actor: Actor): Intervention {
  demandState(mail, "be cancelled", "cancelled");
  return {
    states: [mail.state],
    change: cancelled(mail, { ...actor, reason: `cancelled by ${actor.by}` }),
    told: "cancelled: open recipients are discarded",
  };
}

/** Starts a dead letter again with what is known of it; its strikes are forgiven. */
export function retryDead(mail: MailRecord, actor: Actor): Intervention {
  demandState(mail, "be tried again this way", "deadTakenUp");
  if (isNoMail(mail)) {
    throw refused(mail, `it was never a mail that could be read; ${wayOutOf(mail)}`);
  }
  return {
    states: [mail.state],
    change: deadTakenUp(mail, actor),
    told: isUnread(mail) ? "its record is read again, due now" : "tried again, due now",
  };
}

/** For final mail that nobody wants to keep: the next sweep removes it with its body. */
export function drop(mail: MailRecord, state: "dead" | "quarantined", actor: Actor): Intervention {
  if (mail.state !== state) throw refusedIn(mail, [state], "be deleted this way");
  return {
    states: [state],
    change: dropped(mail, actor),
    told: "deleted: the next sweep removes it with its body",
  };
}

/** What to do instead, for the states that have a way of their own. */
const ways: Partial<Record<MailState, string>> = {
  quarantined: `${rsAgent} quarantine release`,
  dead: `${rsAgent} dead retry`,
  held: `${rsAgent} retry-now`,
};

/**
 * Demands a state that allows one of the steps. `what`: what is asked for, as a passive infinitive
 * ("be held").
 * @throws TerminalError CLI_REFUSED with what to do instead
 */
export function demandState(mail: MailRecord, what: string, ...steps: TransitionName[]): void {
  if (steps.some((step) => mayTake(mail, step))) return;
  const states = steps.flatMap((step): readonly MailState[] => transitions[step].from);
  throw refusedIn(mail, states, what);
}

function refusedIn(mail: MailRecord, states: readonly MailState[], what: string): TerminalError {
  if (mail.state === "split") {
    return refused(mail, `its parts go their own way: ${rsAgent} explain ${mail._id} names them`);
  }
  const [last = "", ...others] = [...states].reverse();
  const list = others.length === 0 ? last : `${others.reverse().join(", ")} or ${last}`;
  const way = isNoMail(mail) ? undefined : ways[mail.state];
  const hint = way === undefined ? "" : `; see ${way} ${mail._id}`;
  return refused(mail, `only mail that is ${list} can ${what}${hint}`);
}

export function refused(mail: MailRecord, why: string): TerminalError {
  return new TerminalError("CLI_REFUSED", `${mail._id} is ${mail.state}: ${why}`);
}
