import type { ConservationCheck } from "./check/conservation.ts";
import type { Settled } from "./check/settling.ts";
import type { ByRecords } from "./measure/by-records.ts";
import type { ProcessUse } from "./measure/processes.ts";
import { saturationOf, stageRates } from "./measure/saturation.ts";
import type { FloodOptions } from "./options.ts";
import type { Parts } from "./parts.ts";
import type { EndToEnd, FloodResult, SinkCounts } from "./result.ts";

export interface Times {
  begunMs: number;
  scheduleMs: number;
  sendingMs: number;
  wholeMs: number;
}

/** What the records of the run told, or why they could not be read. */
export interface ReadRecords {
  check?: ConservationCheck | undefined;
  records?: ByRecords | undefined;
  unread?: string;
}

interface Seen extends ReadRecords {
  ended: Settled | "not waited for";
  processes: readonly ProcessUse[];
}

/** Brings together what was seen of a run. */
export function resultOf(
  options: FloodOptions,
  parts: Parts,
  times: Times,
  { ended, check, processes, records, unread }: Seen,
): FloodResult {
  const { tally, run, startedAt, sender, sink, database } = parts;
  const { handedIn, timeline } = tally;
  const seconds = secondsOf(times, options, handedIn.offered);
  const sinkCounts =
    sink === undefined ? undefined : { ...sinkOf(parts), strangers: sink.strangers };
  const stages = stageRates(
    options.pace.schedule?.stages ?? [],
    timeline.seconds,
    sink !== undefined || database !== undefined,
  );
  return {
    run,
    seed: options.seed,
    startedAt: startedAt.toISOString(),
    target: sender.target,
    asked: options.asked,
    kinds: kindsOf(parts),
    connections: options.lanes,
    seconds,
    ended,
    handedIn,
    rates: ratesOf(parts, seconds),
    replies: mostFrequent(tally.replies),
    accept: { ...tally.accept.read(), bars: tally.accept.bars() },
    endToEnd: endToEndOf(parts, records),
    sink: sinkCounts,
    steps: records === undefined ? undefined : { mails: records.mails, times: records.steps },
    processes: processes.map(({ name, cpuMs, maxRssMb }) => ({
      name,
      cpuMsPerMail: handedIn.accepted === 0 ? 0 : rounded(cpuMs / handedIn.accepted),
      maxRssMb: Math.round(maxRssMb),
    })),
    stages,
    saturation: saturationsOf(stages, parts),
    check: check?.read(),
    ...(unread !== undefined && { unread }),
    database: database?.database.server,
    timeline: timeline.seconds,
  };
}

function secondsOf(
  { scheduleMs, sendingMs, wholeMs }: Times,
  { pace: { schedule } }: FloodOptions,
  offered: number,
): FloodResult["seconds"] {
  // The last mail is due a moment before the end of its schedule: 10/s for 3 s is 30 mails.
  const isWhole = schedule?.mails === offered;
  return {
    schedule: rounded((isWhole ? schedule.totalMs : scheduleMs) / 1_000),
    sending: rounded(sendingMs / 1_000),
    whole: rounded(wholeMs / 1_000),
  };
}

function ratesOf({ tally, sink }: Parts, seconds: FloodResult["seconds"]): FloodResult["rates"] {
  const { offered, accepted, bytes } = tally.handedIn;
  const scheduled = Math.max(seconds.schedule, 0.001);
  const sending = Math.max(seconds.sending, scheduled);
  const [first, last] = deliverySpan(tally.timeline.seconds);
  return {
    offered: rounded(offered / scheduled),
    accepted: rounded(accepted / sending),
    ...(sink === undefined ? {} : { delivered: rounded(tally.delivered / (last - first + 1)) }),
    megabytes: rounded(bytes / 1_000_000 / sending),
  };
}

/** The first and the last second in which anything came out. */
function deliverySpan(seconds: FloodResult["timeline"]): [number, number] {
  const first = seconds.findIndex(({ delivered }) => delivered > 0);
  const last = seconds.findLastIndex(({ delivered }) => delivered > 0);
  return [first, last];
}

function sinkOf({ tally }: Parts): Omit<SinkCounts, "strangers"> {
  const { expected, delivered, copies, duplicates } = tally;
  return { expected, delivered, copies, duplicates };
}

function kindsOf({ composer, ledger }: Parts): Record<string, number> {
  const kinds: Record<string, number> = {};
  for (let number = 0; number < ledger.size; number += 1) {
    const { kind } = composer.mail(number);
    kinds[kind] = (kinds[kind] ?? 0) + 1;
  }
  return kinds;
}

function endToEndOf({ tally, sink }: Parts, records: ByRecords | undefined): EndToEnd | undefined {
  const [by, latencies] =
    sink === undefined
      ? (["records", records?.endToEnd] as const)
      : (["sink", tally.endToEnd] as const);
  if (latencies === undefined || latencies.count === 0) return undefined;
  return { by, ...latencies.read(), bars: latencies.bars() };
}

function saturationsOf(
  stages: FloodResult["stages"],
  { tally, sink }: Parts,
): FloodResult["saturation"] {
  const accepted = saturationOf(stages, (stage) => stage.accepted);
  // Of what was accepted, only what any filter lets through reaches the sink.
  const share = sink === undefined ? 1 : tally.expected / Math.max(1, tally.handedIn.accepted);
  const delivered = saturationOf(stages, (stage) => stage.delivered, share);
  return {
    ...(accepted === undefined ? {} : { accepted }),
    ...(delivered === undefined ? {} : { delivered }),
  };
}

function mostFrequent(replies: ReadonlyMap<string, number>): Record<string, number> {
  return Object.fromEntries([...replies].sort(([, one], [, other]) => other - one).slice(0, 10));
}

function rounded(number: number): number {
  return Math.round(number * 1_000) / 1_000;
}
