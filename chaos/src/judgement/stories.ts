import { readFileSync } from "node:fs";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import type { DoneFault } from "../faults/havoc.ts";
import type { Submission } from "../mails/submissions.ts";
import type { Copy } from "../sink.ts";
import type { Finding } from "./findings.ts";

/** All that is known of a mail that is not as it should be. */
export interface Story {
  findings: Finding[];
  submission: Submission | undefined;
  /** Without bodies and header blocks. */
  records: Partial<MailRecord>[];
  copies: Copy[];
  /** Lines of all services that name it, in order of time. */
  log: string[];
  /** What went wrong while it was on its way. */
  faults: string[];
}

export interface StorySources {
  verdict: { findings: readonly Finding[] };
  submissions: readonly Submission[];
  records: readonly MailRecord[];
  copies: readonly Copy[];
  faults: readonly DoneFault[];
  logFiles: readonly string[];
}

/** More stories than these say nothing new. */
const maxStories = 20;
const slowMails = 5;
const maxLogLines = 200;

/** The stories of mails that are not as they should be, and of the slowest ones. */
export function storiesOf(sources: StorySources): { wrong: Story[]; slowest: Story[] } {
  const { findings } = sources.verdict;
  const byMail = [...Map.groupBy(findings, ({ number, mailIds }) => number ?? mailIds[0])];
  const lines = linesOf(sources.logFiles);
  const slowest = [...sources.records]
    .sort((one, other) => tookMs(other) - tookMs(one))
    .slice(0, slowMails);
  return {
    wrong: byMail.slice(0, maxStories).map(([number, ofMail]) => {
      const ids = ofMail.flatMap(({ mailIds }) => mailIds);
      return storyOf(sources, typeof number === "number" ? number : undefined, ids, ofMail, lines);
    }),
    slowest: slowest.map((record) => storyOf(sources, undefined, [record._id], [], lines)),
  };
}

function tookMs({ state, receivedAt, finalAt }: MailRecord): number {
  return state === "split" ? 0 : Number(finalAt ?? receivedAt) - Number(receivedAt);
}

function storyOf(
  sources: StorySources,
  number: number | undefined,
  mailIds: readonly string[],
  findings: Finding[],
  lines: readonly Line[],
): Story {
  const named = new Set(mailIds);
  const records = sources.records.filter(
    ({ _id, origin, parentId }) =>
      named.has(_id) ||
      named.has(parentId ?? "") ||
      (origin.via === "dsn" && named.has(origin.name)),
  );
  const ids = [...named, ...records.map(({ _id }) => _id)];
  const instants = records.flatMap(({ receivedAt, finalAt }) => [
    receivedAt,
    finalAt ?? new Date(),
  ]);
  const [from, to] = [Math.min(...instants.map(Number)), Math.max(...instants.map(Number))];
  return {
    findings,
    submission: sources.submissions.find(({ mail }) => mail.number === number),
    records: records.map(withoutPlan),
    copies: sources.copies.filter(({ mailId }) => ids.includes(mailId)),
    log: lines
      .filter(({ text }) => ids.some((id) => text.includes(`"${id}"`)))
      .slice(0, maxLogLines)
      .map(({ text }) => text),
    faults: sources.faults
      .filter(({ at }) => at.getTime() >= from - 1_000 && at.getTime() <= to)
      .map(
        ({ at, name, pid }) => `${at.toISOString()} ${name}${pid === undefined ? "" : ` (${pid})`}`,
      ),
  };
}

/** The plan follows from the policy and is the same for all mails of a kind. */
function withoutPlan(record: MailRecord): Partial<MailRecord> {
  const story: Partial<MailRecord> = { ...record };
  delete story.plan;
  return story;
}

interface Line {
  text: string;
  time: number;
}

function linesOf(files: readonly string[]): Line[] {
  return files
    .flatMap((file) => readFileSync(file, "utf8").split("\n"))
    .map((text) => ({ text, time: Number(/"time":(\d+)/.exec(text)?.[1] ?? 0) }))
    .sort((one, other) => one.time - other.time);
}
