import type { Outcome } from "@rs-agent/shared/life/outcomes.ts";
import type { Disposition } from "@rs-agent/shared/checks/consequence.ts";
import type { Plan } from "@rs-agent/shared/mail/plan.ts";
import type { SeenRecord } from "../database.ts";
import type { MailStatus } from "../ledger.ts";
import type { FloodMail } from "../mails/composer.ts";
import type { MailKind } from "../mails/mix.ts";

/** What may be wrong with a recipient of a mail. */
export const findingKinds = [
  /** Accepted, and nowhere to be found. */
  "lost",
  /** It has no end yet. */
  "open",
  /** An end that its policy does not give such a mail. */
  "wrong end",
  /** In the database more than once. */
  "twice",
  /** Recorded as sent, but no copy came. */
  "not arrived",
  /** More than one copy came. */
  "duplicate",
  /** A copy came of a mail that is not recorded as sent. */
  "leaked",
] as const;
export type FindingKind = (typeof findingKinds)[number];

export interface Finding {
  kind: FindingKind;
  number: number;
  address: string;
  detail: string;
}

/** All that is known of one mail when everything has settled. */
export interface SeenMail {
  mail: FloodMail;
  status: MailStatus;
  isRefused: (place: number) => boolean;
  /** Undefined: nobody looked into a database. */
  records: readonly SeenRecord[] | undefined;
  /** Copies at the sink, by place; undefined: there was no sink. */
  copies: readonly number[] | undefined;
}

/** The findings on each recipient of a mail (I1, from outside). */
export function judge(seen: SeenMail): Finding[] {
  return seen.mail.rcptTo.flatMap((address, place) => {
    const copies = seen.copies?.[place];
    const isAccepted = seen.status === "accepted" && !seen.isRefused(place);
    const verdict = isAccepted
      ? judgeAccepted(seen, address, copies)
      : judgeOthers(seen, address, copies);
    if (verdict === undefined) return [];
    const [kind, detail] = verdict;
    return [{ kind, number: seen.mail.number, address, detail }];
  });
}

type Verdict = readonly [kind: FindingKind, detail: string] | undefined;

function judgeAccepted(seen: SeenMail, address: string, copies: number | undefined): Verdict {
  const { mail, records } = seen;
  if (records === undefined) return judgeArrival(mail.kind, copies);
  const entries = entriesOf(records, address);
  const [entry] = entries;
  if (entry === undefined) return ["lost", "accepted, and in no record"];
  const ids = entries.map(({ record }) => record._id).join(", ");
  if (entries.length > 1) return ["twice", `in the records ${ids}`];
  const { record, outcome } = entry;
  if (outcome === "open") return ["open", `${ids} is ${record.state}`];
  const wanted = wantedOutcome(mail.kind, record.plan);
  if (wanted !== undefined && wanted !== outcome)
    return ["wrong end", `${mail.kind}, ${ids} is ${outcome} and should be ${wanted}`];
  return judgeCopies(outcome, copies, ids);
}

/**
 * Not accepted as far as we heard. It may have been accepted all the same, and must then end well.
 */
function judgeOthers({ records = [], status }: SeenMail, address: string, copies = 0): Verdict {
  if (copies > 1) return ["duplicate", `${copies} copies came`];
  const open = entriesOf(records, address).find(({ outcome }) => outcome === "open");
  if (open === undefined || status !== "unknown") return undefined;
  return ["open", `${open.record._id} is ${open.record.state}`];
}

function judgeCopies(outcome: Outcome, copies: number | undefined, id: string): Verdict {
  if (copies === undefined) return undefined;
  if (copies > 1) return ["duplicate", `${copies} copies of ${id} came`];
  if (outcome === "sent") return copies === 1 ? undefined : ["not arrived", `${id} is sent`];
  return copies === 0 ? undefined : ["leaked", `${id} is ${outcome}`];
}

/** By the sink alone: only what any filter lets through must arrive. */
function judgeArrival(kind: MailKind, copies = 0): Verdict {
  if (copies > 1) return ["duplicate", `${copies} copies came`];
  const mustArrive = kind === "clean" || kind === "big";
  return mustArrive && copies === 0 ? ["lost", "accepted, and no copy came"] : undefined;
}

function entriesOf(records: readonly SeenRecord[], address: string) {
  return records.flatMap((record) =>
    record.recipients
      .filter((recipient) => recipient.address.toLowerCase() === address.toLowerCase())
      .map(({ outcome }) => ({ record, outcome })),
  );
}

/** The end that the policy gives such a mail; undefined: any. */
export function wantedOutcome(kind: MailKind, plan: Plan | undefined): Outcome | undefined {
  if (kind === "corpus") return undefined;
  if (kind === "virus" && plan?.virus !== undefined) return endOf(plan.virus.onInfected, plan);
  if (kind === "spam" && plan?.spam !== undefined) {
    // GTUBE has a thousand points, more than any threshold.
    const { onSpam, onHighSpam, highThreshold } = plan.spam;
    const isHigh = highThreshold !== undefined && onHighSpam !== undefined;
    return endOf(isHigh ? onHighSpam : onSpam, plan);
  }
  return "sent";
}

function endOf(disposition: Disposition, { direction }: Plan): Outcome {
  switch (disposition) {
    case "deliver":
    case "tag":
      return "sent";
    case "quarantine":
      return "quarantined";
    case "discard":
      return "discarded";
    // Strangers are told nothing (the sender may be forged): incoming mail is kept instead.
    case "reject":
      return direction === "outgoing" ? "bounced" : "quarantined";
    case "hold":
      return "open";
  }
}
