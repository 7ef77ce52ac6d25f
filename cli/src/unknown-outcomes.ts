import type { SenderProof } from "@rs-agent/shared/mail/authentication/sender-proof.ts";
import { isFromStrangers } from "@rs-agent/shared/mail/direction.ts";
import { rsAgent } from "./called-as.ts";
import { whyUnreported, type FailedRecipient } from "@rs-agent/shared/mail/dsn.ts";
import { concernedIn, resent, settled } from "@rs-agent/shared/life/interventions.ts";
import { isOpen, type FinalOutcome } from "@rs-agent/shared/life/outcomes.ts";
import type { MailRecord, Recipient, UnknownMark } from "@rs-agent/shared/mail/record.ts";
import { recordAfter } from "@rs-agent/shared/store/mail-change.ts";
import { demandState, refused, type Actor, type Intervention } from "./interventions.ts";

/**
 * What a person may do about an outcome that nobody knows (I8), as pure functions: have the mail
 * sent again, or say what was found out at the hop. Only the recipients of that attempt are
 * concerned.
 */

/** What can be found out at the hop, or decided in spite of it. */
export const foundOutcomes = ["sent", "bounced", "discarded"] as const;
export type FoundOutcome = (typeof foundOutcomes)[number];

/** RFC 3463 codes for replies that carry none. */
const statusOf = { sent: "2.0.0", bounced: "5.0.0", dead: "5.0.0", discarded: "2.7.1" } as const;

/**
 * Sends the mail again despite a policy that holds it: a possible duplicate with the same
 * Message-ID. The relay makes sure that this is not before the hop's longest time-out is over.
 * @throws TerminalError CLI_REFUSED
 */
export function resend(mail: MailRecord, actor: Actor): Intervention {
  const mark = demandUnknown(mail, "be sent again this way");
  const addresses = demandConcerned(mail).map(({ address }) => address);
  const detail = `a possible duplicate for ${listed(addresses)}`;
  return {
    states: ["held"],
    change: resent(mail, { now: actor.now, by: actor.by, mark, detail }),
    told: `sent again ${whenText(mark, actor.now)}: ${detail}`,
  };
}

/** What the person found out. */
export interface Found {
  as: FoundOutcome;
  /** Only for these recipients; undefined: for all that are concerned. */
  to?: readonly string[] | undefined;
  /** The hop's own words, such as `250 2.0.0 queued as 4XyZ`. */
  reply?: string | undefined;
}

/** Whether `settle` needs to know if the sender may be told (I12). */
export function needsProof(mail: MailRecord, { as }: Pick<Found, "as">): boolean {
  return outcomeOf(mail, as) === "bounced" && isFromStrangers(mail);
}

/** The proof if nobody was asked. */
function withoutProof(mail: MailRecord): SenderProof {
  return isFromStrangers(mail)
    ? { kind: "unproven", why: "unverified", detail: "the sender was not verified" }
    : { kind: "proven", detail: "outgoing mail" };
}

/**
 * Sets the outcome of recipients as the hop knows it. `bounced` tells a sender who is proven to be
 * the sender (`needsProof`); apart from that, all is as if the hop had refused the mail to us.
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
      ? { ...foundOut(recipient, outcome, found, actor), ...report }
      : recipient,
  );
  const left = mark.recipients.filter((address) => !chosen.has(address));
  const notTold = untold === undefined ? undefined : `no report, ${untold}`;
  const why = outcome === "dead" ? whyUnreported(mail) : notTold;
  const what = why === undefined ? outcome : `${outcome} (${why})`;
  const said = found.reply === undefined ? "" : `: ${found.reply}`;
  const change = settled(mail, {
    ...{ mark, recipients, outcome, left, reason: why, now: actor.now, by: actor.by },
    detail: `${listed([...chosen])} ${what}${said}`,
  });
  return {
    states: ["held"],
    change,
    ...(outcome === "bounced" &&
      proof.kind === "proven" && {
        report: { failed: [...chosen].map((one) => failed(one, found, actor)), proof },
      }),
    told: `${what}: ${listed([...chosen])}${nextOf(recordAfter(mail, change))}`,
  };
}

/** What happens to the other recipients. */
function nextOf(mail: MailRecord): string {
  const waiting = concernedIn(mail);
  if (waiting.length > 0) return `; held for ${listed(waiting.map(({ address }) => address))}`;
  return mail.recipients.some(isOpen) ? "; its other recipients are tried again now" : "";
}

function foundOut(
  recipient: Recipient,
  outcome: FinalOutcome,
  { as, reply }: Found,
  { by, now }: Actor,
): Recipient {
  const status = statusIn(reply, as);
  const words = reply ?? `${as}, as ${by} found out`;
  return { ...recipient, outcome, at: now, status, reply: words, foundBy: by };
}

function failed(address: string, { as, reply }: Found, { now }: Actor): FailedRecipient {
  const said = reply === undefined ? {} : { reply };
  return { address, status: statusIn(reply, as), lastAttemptAt: now, ...said };
}

/** The enhanced status code in the hop's words (RFC 2034), if its class is that of the outcome. */
function statusIn(reply: string | undefined, as: FoundOutcome): string {
  const usual = statusOf[as];
  const code = /(?:^|\s)([25]\.\d{1,3}\.\d{1,3})(?=\s|$)/.exec(reply ?? "")?.[1];
  return code !== undefined && code[0] === usual[0] ? code : usual;
}

function outcomeOf(mail: MailRecord, as: FoundOutcome): FinalOutcome {
  return as === "bounced" && whyUnreported(mail) !== undefined ? "dead" : as;
}

function chosenOf(mail: MailRecord, to: readonly string[] | undefined): ReadonlySet<string> {
  const concerned = demandConcerned(mail).map(({ address }) => address);
  if (to === undefined) return new Set(concerned);
  const chosen = to.map((wanted) => {
    const found = concerned.find((address) => address.toLowerCase() === wanted.toLowerCase());
    if (found !== undefined) return found;
    throw refused(mail, `the outcome is unknown for ${listed(concerned)}, not for ${wanted}`);
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

/** `what`: what is asked for, as a passive infinitive. */
function demandUnknown(mail: MailRecord, what: string): UnknownMark {
  const { state, unknown, _id } = mail;
  if (state === "relaying" && unknown !== undefined) {
    const way = `to keep it back first: ${rsAgent} hold ${_id}`;
    throw refused(mail, `it is sent again by its policy; ${way}`);
  }
  if (state !== "held" && unknown === undefined) {
    throw refused(mail, "none of its outcomes is unknown");
  }
  demandState(mail, what, "settled");
  if (unknown !== undefined) return unknown;
  throw refused(
    mail,
    `none of its outcomes is unknown; ${rsAgent} explain ${_id} says why it is held`,
  );
}

function whenText({ resolveAt }: UnknownMark, now: Date): string {
  if (resolveAt === undefined) return "when the hop's longest time-out has passed";
  return resolveAt <= now ? "now" : `at ${resolveAt.toISOString()}`;
}

/** A list cut after five addresses: a history entry has its limit. */
function listed(addresses: readonly string[]): string {
  const more = addresses.length - 5;
  return addresses.slice(0, 5).join(", ") + (more > 0 ? ` and ${String(more)} more` : "");
}
