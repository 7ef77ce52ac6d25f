import type { ConservationCheck } from "../check/conservation.ts";
import { eachRecord, type SeenRecord } from "../database.ts";
import type { FloodOptions } from "../options.ts";
import type { Parts } from "../parts.ts";
import { Latencies } from "./latency.ts";
import { Steps, type StepTimes } from "./steps.ts";

/** What the records of a run tell. */
export interface ByRecords {
  /** Mails that were looked at. */
  mails: number;
  steps: StepTimes[];
  /** From when a mail should have been sent until its last recipient ended as `sent`. */
  endToEnd: Latencies;
}

/** For times alone, this many are enough. */
const sampleMails = 20_000;

/**
 * Reads the records: with a check all of them, which it judges; otherwise a sample for the times.
 */
export async function lookAtRecords(
  parts: Parts,
  { fromDomain }: Pick<FloodOptions, "fromDomain">,
  check: ConservationCheck | undefined,
): Promise<ByRecords | undefined> {
  const { database, ledger, run } = parts;
  const times = { steps: new Steps(), endToEnd: new Latencies() };
  const clock = database?.database.clock;
  const offsetMs = clock === undefined ? 0 : clock.now().getTime() - Date.now();
  let mails = 0;
  const look = (number: number, records: SeenRecord[] | undefined) => {
    check?.add(seenMail(parts, number, records));
    if (records === undefined || records.length === 0) return;
    mails += 1;
    for (const record of records) times.steps.add(record);
    const endMs = endOf(records);
    const intendedMs = performance.timeOrigin + ledger.atMs(number);
    if (endMs !== undefined) times.endToEnd.add(endMs - offsetMs - intendedMs);
  };
  const numbers = numbersOf(ledger.size, check === undefined ? sampleMails : ledger.size);
  if (database === undefined) {
    if (check !== undefined) for (const number of numbers) look(number, undefined);
    return undefined;
  }
  await eachRecord(database, { run, fromDomain }, numbers, look);
  return { mails, steps: times.steps.read(), endToEnd: times.endToEnd };
}

function seenMail({ composer, ledger, sink }: Parts, number: number, records?: SeenRecord[]) {
  const mail = composer.mail(number);
  return {
    mail,
    status: ledger.status(number),
    isRefused: (place: number) => ledger.isRefused(number, place),
    records,
    copies: sink === undefined ? undefined : mail.rcptTo.map((_, at) => ledger.copies(number, at)),
  };
}

/** When the last recipient had its mail, in epoch milliseconds; undefined unless all have it. */
function endOf(records: readonly SeenRecord[]): number | undefined {
  const recipients = records.flatMap((record) => record.recipients);
  if (recipients.some(({ outcome, at }) => outcome !== "sent" || at === undefined))
    return undefined;
  return Math.max(...recipients.map(({ at }) => at?.getTime() ?? 0));
}

/** At most this many, spread evenly over the run. */
function numbersOf(size: number, most: number): number[] {
  const step = Math.max(1, size / most);
  return Array.from({ length: Math.min(size, most) }, (_, nth) => Math.floor(nth * step));
}
