import { randomInt } from "node:crypto";
import { durationMs, durationSchema } from "@rs-agent/shared/duration.ts";
import type { DatabaseAddress } from "./database.ts";
import { mostMails } from "./ledger.ts";
import { parseMix, type Mix } from "./mails/mix.ts";
import { parseSizes, type Sizes } from "./mails/sizes.ts";
import {
  parseRecipientCount,
  parseTenants,
  type RecipientCount,
  type Tenants,
} from "./mails/tenants.ts";
import { parseProcess, type NamedProcess } from "./measure/processes.ts";
import { createSchedule, parseRate } from "./pace/schedule.ts";
import type { Pace } from "./pace/send-mails.ts";
import { parseSmtpUrl, type Address } from "./target.ts";
import { sizeBytes, wholeNumber, wrongOption } from "@rs-agent/kit/options.ts";

/** The options as they were given. */
export interface FloodArguments {
  to?: string;
  rate?: string;
  asFastAsAccepted?: boolean;
  mails?: string;
  for?: string;
  connections?: string;
  maxWaiting?: string;
  timeout?: string;
  mix?: string;
  size?: string;
  bigSize?: string;
  tenants?: string;
  recipients?: string;
  from?: string;
  corpus?: string;
  seed?: string;
  sink?: string;
  check?: boolean;
  wait?: string;
  pid?: string[];
  mongo?: boolean;
  json?: boolean;
  report?: string;
  iOwnThisTarget?: boolean;
}

/** What a flood takes from its surroundings. */
export interface FloodSettings {
  /** The listener of a running system, host:port. */
  smtp: string;
  /** Undefined: no MONGODB_URI was found. */
  database: DatabaseAddress | undefined;
  /** The processes here that `npm start` started. */
  processes: readonly NamedProcess[];
}

export interface FloodOptions {
  /** Absent: straight into MongoDB. */
  smtp?: Address;
  database?: DatabaseAddress;
  pace: Pace;
  lanes: number;
  maxWaiting: number;
  replyWithinMs: number;
  mix: Mix;
  sizes: Sizes;
  bigBytes: number;
  /** Absent: the domains of the tenants in the database. */
  tenants?: Tenants;
  recipients: RecipientCount;
  fromDomain: string;
  corpus?: string;
  seed: number;
  sink?: Address;
  check: boolean;
  patienceMs: number;
  processes: readonly NamedProcess[];
  isOwned: boolean;
  /** What was asked for, in the words of the report. */
  asked: string;
}

const usualMix = "clean:90,spam:8,virus:1,big:1";
const usualRate = "10";

/** @throws TerminalError CFG_INVALID naming the option */
export function floodOptions(given: FloodArguments, settings: FloodSettings): FloodOptions {
  const { mongo = true, check = false } = given;
  const database = mongo ? settings.database : undefined;
  const isToMongo = given.to === "mongo";
  if (isToMongo && database === undefined)
    throw wrongOption("--to", "mongo", "needs MONGODB_URI, as the services have it");
  const smtp = isToMongo ? undefined : parseSmtpUrl("--to", given.to ?? settings.smtp);
  const sink = given.sink === undefined ? undefined : parseSmtpUrl("--sink", given.sink);
  if (check && sink === undefined && database === undefined)
    throw wrongOption("--check", "", "needs MONGODB_URI or --sink: nothing else knows of the mail");
  const mix = parseMix(given.mix ?? (given.corpus === undefined ? usualMix : "corpus"));
  if (mix.has("corpus") !== (given.corpus !== undefined))
    throw wrongOption("--mix", given.mix ?? "", "corpus and --corpus go together");
  const tenants = given.tenants === undefined ? undefined : parseTenants(given.tenants);
  const pace = paceOf(given);
  return {
    ...(smtp === undefined ? {} : { smtp }),
    ...(database === undefined ? {} : { database }),
    ...(sink === undefined ? {} : { sink }),
    ...(tenants === undefined ? {} : { tenants }),
    ...(given.corpus === undefined ? {} : { corpus: given.corpus }),
    pace,
    lanes: wholeNumber("--connections", given.connections ?? "32", 10_000),
    maxWaiting: wholeNumber("--max-waiting", given.maxWaiting ?? "10000", 1_000_000),
    replyWithinMs: duration("--timeout", given.timeout ?? "60s"),
    mix,
    sizes: parseSizes(given.size ?? "4k"),
    bigBytes: bigBytesOf(given.bigSize ?? "5m"),
    recipients: parseRecipientCount(given.recipients ?? "1"),
    fromDomain: domainOf(given.from ?? "flood.example"),
    seed: wholeNumber("--seed", given.seed ?? String(randomInt(1, 1_000_000))),
    check,
    patienceMs: duration("--wait", given.wait ?? "60s"),
    processes: [...settings.processes, ...(given.pid ?? []).map(parseProcess)],
    isOwned: given.iOwnThisTarget ?? false,
    asked:
      pace.schedule === undefined ? "as fast as accepted" : `--rate ${given.rate ?? usualRate}`,
  };
}

function paceOf(given: FloodArguments): Pace {
  const { rate = usualRate, mails, asFastAsAccepted = false } = given;
  const most = mails === undefined ? mostMails : wholeNumber("--mails", mails, mostMails);
  const ms = given.for === undefined ? undefined : duration("--for", given.for);
  if (asFastAsAccepted) {
    if (given.rate !== undefined)
      throw wrongOption("--rate", rate, "and --as-fast-as-accepted exclude each other");
    // With a number of mails the run ends when they are through; a day is as good as forever.
    return { mails: most, ms: ms ?? (mails === undefined ? usualMs : dayMs) };
  }
  const stages = parseRate(rate, ms ?? (mails === undefined ? usualMs : dayMs));
  const limits = ms === undefined ? { most } : { most, mostMs: ms };
  const schedule = createSchedule(stages, limits);
  if (schedule.mails === 0) throw wrongOption("--rate", rate, "has no mail in it");
  if (mails === undefined && schedule.mails >= mostMails)
    throw wrongOption("--rate", rate, `is more than the ${mostMails} mails that a run may have`);
  return { mails: schedule.mails, ms: schedule.totalMs, schedule };
}

const usualMs = 30_000;
const dayMs = 86_400_000;

function duration(option: string, text: string): number {
  const ms = durationSchema.safeParse(text).success ? durationMs(text) : 0;
  if (ms > 0 && ms <= dayMs) return ms;
  throw wrongOption(option, text, "must be a duration such as 30s or 5m, at most a day");
}

function bigBytesOf(text: string): number {
  const bytes = sizeBytes(text);
  if (bytes !== undefined && bytes <= 100_000_000) return bytes;
  throw wrongOption("--big-size", text, "must be a size such as 5m, at most 100m");
}

function domainOf(text: string): string {
  if (/^[a-z0-9](?:[a-z0-9.-]{0,200}[a-z0-9])?$/i.test(text)) return text.toLowerCase();
  throw wrongOption("--from", text, "must be a domain");
}
