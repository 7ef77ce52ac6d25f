import type { CheckResult } from "./check/conservation.ts";
import type { Settled } from "./check/settling.ts";
import type { Bar, Latency } from "./measure/latency.ts";
import type { Saturation, StageRates } from "./measure/saturation.ts";
import type { StepTimes } from "./measure/steps.ts";
import type { HandedIn } from "./measure/tally.ts";
import type { Second } from "./measure/timeline.ts";

/** The result of a run, as `--json` prints it. Rates are mails per second. */
export interface FloodResult {
  run: string;
  seed: number;
  startedAt: string;
  target: string;
  /** `--rate 10:30s,100:60s`, or as fast as accepted. */
  asked: string;
  /** The mix that was sent: mails by kind. */
  kinds: Record<string, number>;
  connections: number;
  /** Until the last mail was due, until the last reply, and until everything had settled. */
  seconds: { schedule: number; sending: number; whole: number };
  ended: Settled | "not waited for";
  handedIn: HandedIn;
  /** Over the time in which mail was sent. */
  rates: { offered: number; accepted: number; delivered?: number; megabytes: number };
  /** The ten most frequent replies and errors that were not a yes. */
  replies: Record<string, number>;
  accept: Latency & { bars: Bar[] };
  endToEnd: EndToEnd | undefined;
  sink: SinkCounts | undefined;
  /** By the records that were looked at; absent without a database. */
  steps: { mails: number; times: StepTimes[] } | undefined;
  processes: { name: string; cpuMsPerMail: number; maxRssMb: number }[];
  stages: StageRates[];
  saturation: { accepted?: Saturation; delivered?: Saturation };
  check: CheckResult | undefined;
  /** Why the records could not be read at the end; then nothing was checked. */
  unread?: string;
  /** MongoDB's server, if one was looked at. */
  database: string | undefined;
  timeline: Second[];
}

export interface EndToEnd extends Latency {
  /** Copies that came to our sink, or the ends that the records name. */
  by: "sink" | "records";
  bars: Bar[];
}

export interface SinkCounts {
  /**
   * Accepted mails that any filter lets through, and those of them that reached every recipient.
   */
  expected: number;
  delivered: number;
  /** Copies per recipient, of all kinds of mail. */
  copies: number;
  duplicates: number;
  /** Mail that is not of this run: reports, or somebody else's. */
  strangers: number;
}
