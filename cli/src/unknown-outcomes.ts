import type { SenderProof } from "@rs-agent/shared/mail/authentication/sender-proof.ts";
import { isFromStrangers } from "@rs-agent/shared/mail/direction.ts";
import { rsAgent } from "./called-as.ts";
import { whyUnreported, type FailedRecipient } from "@rs-agent/shared/mail/dsn.ts";
import type { MailRecord, Outcome, Recipient, UnknownMark } from "@rs-agent/shared/mail/record.ts";
import { finalStateOf, retentionUntil } from "@rs-agent/shared/mail/state.ts";
import { nextStep } from "@rs-agent/shared/policy/disposition.ts";
import {
  backToWork,
  demandState,
  entry,
  refused,
  type Actor,
  type Intervention,
} from "./interventions.ts";

/**
 * What a person may do about an outcome that nobody knows (I8), as pure functions: have the mail
 * sent again, or say what was found out at the hop. Only the recipients of that attempt are concerned.
 */

/** What can be found out at the hop, or decided in spite of it. */
export const foundOutcomes = ["sent", "bounced", "discarded"] as const;
export type FoundOutcome = (typeof foundOutcomes)[number];

/** RFC 3463 codes where the hop's words carry none. */
const statusOf = { sent: "2.0.0", bounced: "5.0.0", dead: "5.0.0", discarded: "2.7.1" } as const;

/** The open recipients of the attempt whose outcome is unknown. */
export function concernedIn({ unknown, recipients }: MailRecord): Recipient[] {
  const named = new Set(unknown?.recipients);
  return recipients.filter(({ address, outcome }) => outcome === "open" && named.has(address));
}

/**
 * Sent again, in spite of a policy that holds: a possible duplicate with the same Message-ID. Not
 * before the hop's longest time-out is over; the relay sees to that.
 * @throws TerminalError CLI_REFUSED
 */
export function resend(mail: MailRecord, actor: Actor): Intervention {
  const mark = demandUnknown(mail, "be sent again this way");
  const addresses = demandConcerned(mail).map(({ address }) => address);
  const dueAt = later(mark.resolveAt, actor.now);
  return {
    states: ["held"],
    change: {
      set: {
        ...(isReadyToGo(mail, actor.now)
          ? { state: "relaying", next: mail.route?.key, dueAt }
          : backToWork(mail, actor.now)),
        unknown: { ...mark, resendBy: actor.by },
        reason: `outcome unknown: sent again by ${actor.by}'s word`,
      },
      unset: ["heldUntil"],
      history: entry(actor, "to be sent again", `a possible duplicate for ${listed(addresses)}`),
    },
    told: `sent again ${whenText(mark, actor.now)}: a possible duplicate for ${listed(addresses)}`,
  };
}

/** What the person found out. */
export interface Found {
  as: FoundOutcome;
  /** Only of these recipients; undefined: of all that are concerned. */
  to?: readonly string[] | undefined;
  /** The hop's own words, such as `250 2.0.0 queued as 4XyZ`. */
  reply?: string | undefined;
}

/** Whether `settle` has to know if the sender may be told (I12). */
export function needsProof(mail: MailRecord, { as }: Pick<Found, "as">): boolean {
  return outcomeOf(mail, as) === "bounced" && isFromStrangers(mail);
}

/** Where nobody was asked. */
function withoutProof(mail: MailRecord): SenderProof {
  return isFromStrangers(mail)
    ? { kind: "unproven", why: "unverified", detail: "the sender was not verified" }
    : { kind: "proven", detail: "outgoing mail" };
}

/**
 * The outcome of recipients as the hop knows it. `bounced` tells the sender, where that is proven to be
 * the sender (`needsProof`); elsewhere all is as if the hop had refused the mail to us.
 * @throws TerminalError CLI_REFUSED
 */
export function settle(
  mail: MailRecord,
  found: Found,
  actor: Actor,
  proof: SenderProof = withoutProof(mail),
): Intervention {
  const mark = demandUnknown(mail, "be settled");
  const chosen = chosenOf(mail, found.to);
  const outcome = outcomeOf(mail, found.as);
  const untold = outcome === "bounced" && proof.kind === "unproven" ? proof.detail : undefined;
  const report = untold === undefined ? {} : ({ report: "none" } as const);
  const recipients = mail.recipients.map((recipient) =>
    chosen.has(recipient.address) && recipient.outcome === "open"
      ? { ...settled(recipient, outcome, found, actor), ...report }
      : recipient,
  );
  const left = mark.recipients.filter((address) => !chosen.has(address));
  const notTold = untold === undefined ? undefined : `no report, ${untold}`;
  const why = outcome === "dead" ? whyUnreported(mail) : notTold;
  const what = why === undefined ? outcome : `${outcome} (${why})`;
  const said = found.reply === undefined ? "" : `: ${found.reply}`;
  const { set, unset, next } = onward({ ...mail, recipients }, mark, left, actor.now);
  return {
    states: ["held"],
    change: {
      set: { ...set, recipients, ...(why !== undefined && { reason: why }) },
      unset: why === undefined ? unset : unset.filter((path) => path !== "reason"),
      history: entry(actor, "outcome found out", `${listed([...chosen])} ${what}${said}`),
    },
    ...(outcome === "bounced" &&
      proof.kind === "proven" && {
        report: { failed: [...chosen].map((one) => failed(one, found, actor)), proof },
      }),
    told: `${what}: ${listed([...chosen])}${next}`,
  };
}

/** Final, held for the recipients that are still unknown, or on its way to those that were deferred. */
function onward(mail: MailRecord, mark: UnknownMark, left: string[], now: Date) {
  const waiting = concernedIn({ ...mail, unknown: { ...mark, recipients: left } });
  if (waiting.length > 0) {
    const unknown = { ...mark, recipients: left };
    const next = `; held for ${listed(waiting.map(({ address }) => address))}`;
    return { set: { unknown }, unset: [], next };
  }
  const state = finalStateOf(mail.recipients);
  if (state === undefined) {
    const ready = { state: "ready", next: mail.route?.key, dueAt: now };
    const set = isReadyToGo(mail, now) ? ready : backToWork(mail, now);
    const next = "; its other recipients are tried again now";
    return { set, unset: ["unknown", "heldUntil", "reason"], next };
  }
  const expireAt = retentionUntil(state, mail, now);
  const set = { state, finalAt: now, ...(expireAt !== undefined && { expireAt }) };
  const unset = ["unknown", "next", "dueAt", "heldUntil"];
  return { set, unset: state === "dead" ? unset : [...unset, "reason"], next: "" };
}

/**
 * The mail was ready when it was tried, and is so still by the function that the dispatcher asks
 * (I2, I10); otherwise it takes the steps that it lacks.
 */
function isReadyToGo({ plan, body, route, ...mail }: MailRecord, now: Date): boolean {
  if (plan === undefined || route === undefined) return false;
  return nextStep({ ...mail, plan, rawSha256: body.sha256, now }).kind === "ready";
}

function settled(
  recipient: Recipient,
  outcome: Exclude<Outcome, "open">,
  { as, reply }: Found,
  { by, now }: Actor,
): Recipient {
  const status = statusIn(reply, as);
  return { ...recipient, outcome, at: now, status, reply: reply ?? `${as}, as ${by} found out` };
}

function failed(address: string, { as, reply }: Found, { now }: Actor): FailedRecipient {
  const said = reply === undefined ? {} : { reply };
  return { address, status: statusIn(reply, as), lastAttemptAt: now, ...said };
}

/** The enhanced status code in the hop's words (RFC 2034), where it is of the outcome's class. */
function statusIn(reply: string | undefined, as: FoundOutcome): string {
  const usual = statusOf[as];
  const code = /(?:^|\s)([25]\.\d{1,3}\.\d{1,3})(?=\s|$)/.exec(reply ?? "")?.[1];
  return code !== undefined && code[0] === usual[0] ? code : usual;
}

function outcomeOf(mail: MailRecord, as: FoundOutcome): Exclude<Outcome, "open"> {
  return as === "bounced" && whyUnreported(mail) !== undefined ? "dead" : as;
}

function chosenOf(mail: MailRecord, to: readonly string[] | undefined): ReadonlySet<string> {
  const concerned = demandConcerned(mail).map(({ address }) => address);
  if (to === undefined) return new Set(concerned);
  const chosen = to.map((wanted) => {
    const found = concerned.find((address) => address.toLowerCase() === wanted.toLowerCase());
    if (found !== undefined) return found;
    throw refused(mail, `the outcome of ${wanted} is not unknown; of ${listed(concerned)} it is`);
  });
  return new Set(chosen);
}

function demandConcerned(mail: MailRecord): Recipient[] {
  const concerned = concernedIn(mail);
  if (concerned.length > 0) return concerned;
  throw refused(
    mail,
    `every recipient of the attempt has an outcome; see ${rsAgent} explain ${mail._id}`,
  );
}

/** `what`: the infinitive of what is asked for, in the passive. */
function demandUnknown(mail: MailRecord, what: string): UnknownMark {
  const { state, unknown, _id } = mail;
  if (state === "relaying" && unknown !== undefined) {
    const way = `${rsAgent} hold ${_id} keeps it back first`;
    throw refused(mail, `it is sent again by its policy; ${way}`);
  }
  if (state !== "held" && unknown === undefined) {
    throw refused(mail, "no outcome of it is unknown");
  }
  demandState(mail, ["held"], what);
  if (unknown !== undefined) return unknown;
  throw refused(mail, `no outcome of it is unknown; ${rsAgent} explain ${_id} says why it is held`);
}

function whenText({ resolveAt }: UnknownMark, now: Date): string {
  if (resolveAt === undefined) return "when the hop's longest time-out has passed";
  return resolveAt <= now ? "now" : `at ${resolveAt.toISOString()}`;
}

function later(at: Date | undefined, now: Date): Date {
  return at !== undefined && at > now ? at : now;
}

/** Some of many: a history entry has its limit. */
function listed(addresses: readonly string[]): string {
  const more = addresses.length - 5;
  return addresses.slice(0, 5).join(", ") + (more > 0 ? ` and ${String(more)} more` : "");
}
