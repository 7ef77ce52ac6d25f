import { setTimeout as wait } from "node:timers/promises";
import { ConservationCheck } from "./check/conservation.ts";
import { untilSettled, type Settled } from "./check/settling.ts";
import { lookAtRecords } from "./measure/by-records.ts";
import { Ticker, type Standing } from "./measure/ticker.ts";
import { newRun } from "./mails/numbering.ts";
import type { FloodOptions } from "./options.ts";
import { sendAsAccepted, sendOnSchedule } from "./pace/send-mails.ts";
import { openParts, type Parts } from "./parts.ts";
import type { FloodResult } from "./result.ts";
import { RetryableError } from "@rs-agent/shared/errors.ts";
import { resultOf, type ReadRecords, type Times } from "./run-result.ts";

export interface FloodSurroundings {
  /** On abort the run ends with what it has so far. */
  signal: AbortSignal;
  /** Told every second how things stand. */
  onSecond: (standing: Standing) => void;
  /** Told what begins. */
  say: (text: string) => void;
}

/** After the schedule, mail that waits for a connection still has this long to be sent. */
const lastCallMs = 30_000;
/** How long replies under way are waited for after an interruption. */
const partingMs = 2_000;

/**
 * Sends the mails of a run, waits for their end and returns what was seen.
 * @throws what openParts throws; what broke a connection, unless it was a server
 */
export async function runFlood(
  options: FloodOptions,
  surroundings: FloodSurroundings,
): Promise<FloodResult> {
  const parts = await openParts(options, newRun());
  const ticker = new Ticker(parts, surroundings.onSecond);
  try {
    surroundings.say(opening(options, parts));
    const times = await sendAll(options, parts, surroundings);
    const ended = await waitForTheEnd(options, parts, surroundings);
    ticker.stop();
    const processes = parts.processes.stop();
    surroundings.say(parts.database === undefined ? "" : "reading the records");
    const read = await readRecords(options, parts);
    const whole = performance.now() - times.begunMs;
    return resultOf(options, parts, { ...times, wholeMs: whole }, { ended, processes, ...read });
  } finally {
    ticker.stop();
    await parts.close();
  }
}

/** What was sent and heard is reported even if the records can no longer be read. */
async function readRecords(options: FloodOptions, parts: Parts): Promise<ReadRecords> {
  const check = options.check ? new ConservationCheck() : undefined;
  try {
    return { check, records: await lookAtRecords(parts, options, check) };
  } catch (error) {
    if (!(error instanceof RetryableError)) throw error;
    return { unread: `${error.code}: ${error.message}` };
  }
}

async function sendAll(
  options: FloodOptions,
  { lanes, tally }: Parts,
  { signal }: FloodSurroundings,
): Promise<Omit<Times, "wholeMs">> {
  const { pace, replyWithinMs } = options;
  const begunMs = performance.now();
  const onDue = (number: number, atMs: number) => tally.due(number, atMs);
  const deps = { lanes, onDue, signal };
  await (pace.schedule === undefined
    ? sendAsAccepted(pace, deps)
    : sendOnSchedule(pace.schedule, deps));
  const scheduleMs = performance.now() - begunMs;
  const settled = lanes.settled();
  await atMost(lastCallMs, settled, signal);
  lanes.giveUpWaiting();
  await atMost(signal.aborted ? partingMs : replyWithinMs, settled);
  lanes.close();
  await settled;
  return { begunMs, scheduleMs, sendingMs: performance.now() - begunMs };
}

async function waitForTheEnd(
  { check, patienceMs }: FloodOptions,
  { tally, sink, system }: Parts,
  { signal, say }: FloodSurroundings,
): Promise<Settled | "not waited for"> {
  if (signal.aborted) return "interrupted";
  if (sink === undefined && system === undefined) return "not waited for";
  say(`waiting until everything has come through${check ? ", then checking" : ""}`);
  return untilSettled({ tally, hasSink: sink !== undefined, system, patienceMs, signal });
}

/** Settles with `work`, or after this time, or when the signal aborts. */
async function atMost(ms: number, work: Promise<void>, signal?: AbortSignal): Promise<void> {
  const over = new AbortController();
  const until = signal === undefined ? over.signal : AbortSignal.any([signal, over.signal]);
  await Promise.race([work, wait(ms, undefined, { signal: until }).catch(() => undefined)]);
  over.abort();
}

function opening({ asked, seed, check, sink }: FloodOptions, { run, sender }: Parts): string {
  const to = sink === undefined ? "" : `, sink at ${sink.host}:${sink.port}`;
  return `flood ${run}: ${asked}, --seed ${seed}${check ? ", --check" : ""}\nto ${sender.target}${to}`;
}
