import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { numberOfMessageId } from "../mails/mail-bytes.ts";
import type { ExpectedRecipient, PlannedMail } from "../mails/planned-mail.ts";
import type { Submission } from "../mails/submissions.ts";
import type { Copy } from "../sink.ts";
import type { Damage } from "./arrivals.ts";

/** What was seen of a run from outside. */
export interface Seen {
  seed: number;
  submissions: readonly Submission[];
  /** Every record in the database. */
  records: readonly MailRecord[];
  copies: readonly Copy[];
  damages: readonly Damage[];
}

export const findingKinds = [
  /** Never accepted, however often it was tried. */
  "refused",
  /** Accepted, but a recipient's mail is nowhere, or is `sent` and never came. */
  "lost",
  /** A recipient still has no outcome. */
  "open",
  /** Another outcome than the one that the mail was made for. */
  "wrong-fate",
  /** Relayed without the verdicts that its policy demands, or despite them. */
  "unscanned",
  /** Arrived at somebody who should not have got it. */
  "leaked",
  /** More copies than the resends in its history explain. */
  "unexplained-duplicate",
  "damaged",
  /** More mails than attempts to hand it in. */
  "surplus",
  /** A bounce without its one report, a report to a forged sender, or a report that went wrong. */
  "report",
] as const;
export type FindingKind = (typeof findingKinds)[number];

/** Something that should not be, with the mail's ids by which to find its story. */
export interface Finding {
  kind: FindingKind;
  number: number | undefined;
  mailIds: string[];
  what: string;
}

export interface Findings {
  findings: Finding[];
  /** Copies at the next hop beyond the first, recipient by recipient. */
  duplicates: number;
  /** Attempts whose outcome stayed unknown: counted per recipient, and per attempt. */
  unknownOutcomes: number;
  unknownAttempts: number;
  /** Mails that resulted from submissions without a 250. */
  surplusMails: number;
}

/** A mail as it was accepted, with the records that carry its recipients. */
interface Root {
  record: MailRecord;
  carriers: MailRecord[];
}

/** Compares what was handed in with what database and next hop show. Pure. */
export function judge(seen: Seen): Findings {
  const context = contextOf(seen);
  const unknowns = seen.records.flatMap(unknownsOf);
  const perMail = seen.submissions.map((submission) => judgeMail(context, submission));
  const findings = [
    ...perMail.flatMap((each) => each.findings),
    ...strangers(context),
    ...seen.damages.map(({ copy, what }) => finding("damaged", copy.number, [copy.mailId], what)),
  ];
  const sum = (of: (each: MailJudgement) => number) =>
    perMail.reduce((total, each) => total + of(each), 0);
  return {
    findings,
    duplicates: sum(({ duplicates }) => duplicates),
    unknownOutcomes: unknowns.reduce((total, recipients) => total + recipients, 0),
    unknownAttempts: unknowns.length,
    surplusMails: sum(({ surplus }) => surplus),
  };
}

interface Context {
  seen: Seen;
  /** Root mails by the number in their Message-ID. */
  roots: Map<number, Root[]>;
  byId: Map<string, MailRecord>;
  reports: Map<string, MailRecord[]>;
  /** `mail id` + recipient → copies. */
  arrived: Map<string, number>;
}

function contextOf(seen: Seen): Context {
  const byId = new Map(seen.records.map((record) => [record._id, record]));
  const children = Map.groupBy(seen.records, ({ parentId }) => parentId ?? "");
  const reports = Map.groupBy(
    seen.records.filter(({ origin }) => origin.via === "dsn"),
    ({ origin }) => origin.name,
  );
  const roots = new Map<number, Root[]>();
  for (const record of seen.records) {
    const number = numberOfMessageId(record.header?.messageId ?? "", seen.seed);
    if (record.parentId !== undefined || record.origin.via === "dsn" || number === undefined)
      continue;
    const carriers = record.state === "split" ? (children.get(record._id) ?? []) : [record];
    roots.set(number, [...(roots.get(number) ?? []), { record, carriers }]);
  }
  const arrived = new Map<string, number>();
  for (const { mailId, rcptTo } of seen.copies) {
    for (const address of rcptTo) {
      const key = keyOf(mailId, address);
      arrived.set(key, (arrived.get(key) ?? 0) + 1);
    }
  }
  return { seen, roots, byId, reports, arrived };
}

interface MailJudgement {
  findings: Finding[];
  duplicates: number;
  surplus: number;
}

function judgeMail(context: Context, submission: Submission): MailJudgement {
  const { mail, acceptedId, unheard } = submission;
  const roots = context.roots.get(mail.number) ?? [];
  const ids = roots.map(({ record }) => record._id);
  const findings: Finding[] = [];
  if (acceptedId !== undefined && !ids.includes(acceptedId)) {
    const what = `accepted as ${acceptedId}, which is not there`;
    findings.push(finding("lost", mail.number, [acceptedId], what));
  }
  if (acceptedId === undefined) {
    findings.push(finding("refused", mail.number, ids, submission.lastFailure ?? "not tried"));
  }
  const surplus = roots.length - (acceptedId === undefined ? 0 : 1);
  if (surplus > unheard) {
    const what = `${roots.length} mails came of it; ${unheard} submissions heard no 250`;
    findings.push(finding("surplus", mail.number, ids, what));
  }
  let duplicates = 0;
  for (const root of roots) {
    const judged = judgeRoot(context, mail, root);
    findings.push(...judged.findings);
    duplicates += judged.duplicates;
  }
  return { findings, duplicates, surplus: Math.max(0, surplus) };
}

function judgeRoot(context: Context, mail: PlannedMail, root: Root) {
  const findings: Finding[] = [];
  let duplicates = 0;
  const ids = [root.record._id, ...root.carriers.map(({ _id }) => _id)];
  const note = (kind: FindingKind, what: string) =>
    findings.push(finding(kind, mail.number, [...new Set(ids)], what));
  for (const expected of mail.recipients) {
    const carriers = root.carriers.filter(({ recipients }) =>
      recipients.some(({ address }) => address === expected.address),
    );
    const [carrier] = carriers;
    if (carrier === undefined || carriers.length > 1) {
      note("lost", `${expected.address} is in ${carriers.length} of its mails`);
      continue;
    }
    const copies = context.arrived.get(keyOf(root.record._id, expected.address)) ?? 0;
    judgeRecipient(carrier, expected, copies, note);
    duplicates += Math.max(0, copies - 1);
  }
  for (const carrier of root.carriers) judgeReports(context, mail, carrier, note);
  return { findings, duplicates };
}

function judgeRecipient(
  carrier: MailRecord,
  { address, outcome }: ExpectedRecipient,
  copies: number,
  note: (kind: FindingKind, what: string) => void,
): void {
  const got = carrier.recipients.find((recipient) => recipient.address === address)?.outcome;
  if (got === "open") note("open", `${address} is open: ${carrier.state}, ${carrier.reason ?? ""}`);
  else if (got !== outcome) {
    note("wrong-fate", `${address} is ${got ?? "?"}, not ${outcome}: ${carrier.reason ?? ""}`);
  }
  if (got === "sent" && copies === 0) note("lost", `${address} is sent, and no copy came`);
  if (outcome !== "sent" && copies > 0) note("leaked", `${address} got ${copies} copies`);
  if (copies > 0) {
    const missing = missingVerdict(carrier, outcome);
    if (missing !== undefined) note("unscanned", missing);
  }
  const resent = resentOf(carrier.history);
  if (copies > 1 + resent) {
    note("unexplained-duplicate", `${address} got ${copies} copies, sent again ${resent} times`);
  }
}

/**
 * I2 from outside: both verdicts are there, on exactly these bytes, and neither is a finding that
 * policy keeps.
 */
function missingVerdict(
  { verdicts, body }: MailRecord,
  outcome: ExpectedRecipient["outcome"],
): string | undefined {
  const { virus, spam } = verdicts;
  if (virus?.finding.kind !== "clean")
    return `its virus verdict is ${virus?.finding.kind ?? "missing"}`;
  if (spam?.finding.kind !== "ham" && spam?.finding.kind !== "spam")
    return `its spam verdict is ${spam?.finding.kind ?? "missing"}`;
  if (virus.sha256 !== body.sha256 || spam.sha256 !== body.sha256)
    return "its verdicts are on other bytes";
  return outcome === "sent" ? undefined : "it was to be kept back";
}

/**
 * One sent report for each bounced mail's group of recipients; none for anything else, nor to a
 * forged sender.
 */
function judgeReports(
  { reports, arrived }: Context,
  { isForged }: PlannedMail,
  carrier: MailRecord,
  note: (kind: FindingKind, what: string) => void,
): void {
  const about = reports.get(carrier._id) ?? [];
  const ended = carrier.recipients.filter(({ outcome }) => outcome === "bounced");
  const bounced = ended.length;
  const untold = ended.filter(({ report }) => report === "none").length;
  if (untold !== (isForged ? bounced : 0)) {
    note("report", `${bounced} recipients bounced, and nobody was told of ${untold} of them`);
  }
  if (bounced > untold !== about.length > 0) {
    note("report", `${bounced} recipients bounced, ${about.length} reports were made`);
  }
  if (about.length > bounced) note("report", `${about.length} reports on ${bounced} bounces`);
  for (const { _id, state, smtp, history } of about) {
    const copies = arrived.get(keyOf(_id, smtp.rcptTo[0] ?? "")) ?? 0;
    if (state !== "sent" || copies === 0) note("report", `${_id}: ${state}, ${copies} copies came`);
    if (copies > 1 + resentOf(history)) note("report", `${copies} copies of its report ${_id}`);
  }
}

/** Records of mail that was never handed in, and copies of mails that do not exist. */
function strangers({ seen, byId }: Context): Finding[] {
  const numbers = new Set(seen.submissions.map(({ mail }) => mail.number));
  const records = seen.records.flatMap((record) => {
    if (record.origin.via === "dsn") return [];
    const number = numberOfMessageId(record.header?.messageId ?? "", seen.seed);
    if (number !== undefined && numbers.has(number)) return [];
    return [finding("surplus", number, [record._id], `nobody handed it in: ${record.state}`)];
  });
  const copies = seen.copies
    .filter(({ mailId }) => !byId.has(mailId))
    .map(({ mailId, number }) =>
      finding("lost", number, [mailId], "a copy came, and no record is there"),
    );
  return [...records, ...copies];
}

function resentOf(history: MailRecord["history"]): number {
  return history.filter(({ event }) => event === "sent again").length;
}

/** For each attempt that ended unknown the number of recipients, by its record. */
function unknownsOf({ history, recipients }: MailRecord): number[] {
  return history.flatMap((one) => {
    if (one.event === "outcome unknown") return [one.concerned ?? recipients.length];
    const unknown = one.event === "relay attempt" ? one.statuses?.unknown : undefined;
    return unknown === undefined ? [] : [unknown];
  });
}

function keyOf(mailId: string, address: string): string {
  return `${mailId} ${address}`;
}

function finding(
  kind: FindingKind,
  number: number | undefined,
  mailIds: string[],
  what: string,
): Finding {
  return { kind, number, mailIds, what };
}
