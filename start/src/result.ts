import type { Recipient } from "@rs-agent/shared/mail/record.ts";
import type { Verdicts } from "@rs-agent/shared/checks/verdict.ts";
import { forEachEnd, type Outcome } from "@rs-agent/shared/life/outcomes.ts";
import type { Conservation } from "@rs-agent/shared/store/mails.ts";
import type { SampleFate } from "./sample-run.ts";

/** What `npm start -- --json` prints. `refused`: ingest did not take the mail. */
export interface StartResult {
  mails: SampleResult[];
  /** I1, in recipients. */
  conservation: Omit<Conservation, "dsn">;
}

export interface SampleResult {
  sample: string;
  /** "" if it was refused. */
  id: string;
  recipients: RecipientResult[];
  verdicts: Verdicts;
  /** From acceptance to the end of the last recipient. */
  ms: number;
}

export interface RecipientResult {
  address: string;
  expected: Outcome;
  outcome: Outcome | "refused";
}

/** The result of a run, from what the database says. */
export function resultOf(fates: readonly SampleFate[], counted: Conservation): StartResult {
  const { accepted, open, holds } = counted;
  const ended = forEachEnd((outcome) => counted[outcome]);
  return { mails: fates.map(sampleResult), conservation: { accepted, ...ended, open, holds } };
}

/** True if every recipient met the expected end and no mail was lost (I1). */
export function isAsExpected({ mails, conservation }: StartResult): boolean {
  const met = mails.every(({ recipients }) =>
    recipients.every(({ expected, outcome }) => expected === outcome),
  );
  return met && conservation.holds && mails.length > 0;
}

function sampleResult(fate: SampleFate): SampleResult {
  const ends = new Map(
    fate.records.flatMap(({ recipients }) => recipients.map((one) => [one.address, one] as const)),
  );
  return {
    sample: fate.sample.name,
    id: fate.id ?? "",
    recipients: fate.sample.expected.map(({ address, outcome }) => ({
      address,
      expected: outcome,
      outcome: fate.id === undefined ? "refused" : (ends.get(address)?.outcome ?? "open"),
    })),
    verdicts: Object.assign({}, ...fate.records.map(({ verdicts }) => verdicts)) as Verdicts,
    ms: msOf(fate, [...ends.values()]),
  };
}

function msOf({ records }: SampleFate, ends: readonly Recipient[]): number {
  const [first] = records;
  if (first === undefined) return 0;
  const last = Math.max(...ends.map(({ at }) => at?.getTime() ?? 0));
  return Math.max(0, last - first.receivedAt.getTime());
}
