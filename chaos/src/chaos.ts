import { readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import type { MailRecord } from "@rs-agent/shared/mail/record.ts";
import { mailIn } from "@rs-agent/shared/store/mail-document.ts";
import type { ProcessEnd } from "@rs-agent/kit/processes/service-process.ts";
import { serviceNames } from "@rs-agent/kit/system/service-names.ts";
import { wreakHavoc, type DoneFault } from "./faults/havoc.ts";
import { mayLeaveUnknown, scheduleOf } from "./faults/schedule.ts";
import { layTripwires, type PoisonDeath } from "./faults/tripwires.ts";
import { createInspector } from "./judgement/arrivals.ts";
import { judge } from "./judgement/findings.ts";
import { storiesOf } from "./judgement/stories.ts";
import { startFlood, type Flood } from "./mails/flood.ts";
import { watchMemory } from "./memory.ts";
import { startChaosSystem, type ChaosSystem } from "./parts/chaos-system.ts";
import { relayTimeoutMs } from "./parts/quick-settings.ts";
import { watchProgress, type ProgressWatch } from "./progress-watch.ts";
import { resultOf, type ChaosResult, type Observed } from "./result.ts";
import type { Judged } from "./parts/spam-engine-process.ts";
import { startSink } from "./sink.ts";

export interface ChaosOptions {
  mails: number;
  /** How many faults to cause. */
  kills: number;
  seed: number;
  /** Clients that hand in mail at once. Default 6. */
  clients?: number;
  /**
   * Accepted mails that may wait before the clients wait too. Default: a quarter of all, within 60
   * to 300.
   */
  maxBacklog?: number;
  /** While the system settles after the last fault, how long nothing may move. Default 240 s. */
  settleWithinMs?: number;
  /** Keep logs and data even if all is well. */
  keep?: boolean;
  report: (part: string, text: string | undefined) => void;
  /** One line for each fault and process end, for somebody watching. */
  onEvent: (text: string) => void;
  /** An existing folder for data and logs; removed if all is well. */
  runDir: string;
  signal: AbortSignal;
}

const lookEveryMs = 200;

/**
 * One run: starts a whole private system, floods it, breaks it, lets it settle, and checks from
 * outside whether every mail met the end that it was made for.
 */
export async function runChaos(options: ChaosOptions): Promise<ChaosResult> {
  const { runDir } = options;
  const observed = await observe(options);
  const result = resultOf(observed);
  if (result.holds && options.keep !== true) {
    rmSync(runDir, { recursive: true, force: true });
    return result;
  }
  const { verdict, faults } = observed;
  const details = { result, ...verdict, ...storiesOf(observed), faults };
  writeFileSync(join(runDir, "stories.json"), JSON.stringify(details, undefined, 2));
  return { ...result, folder: runDir };
}

/** Runs everything and returns what was seen; the system is stopped when this settles. */
async function observe(options: ChaosOptions): Promise<Observed> {
  const { runDir, seed, report, onEvent } = options;
  const startedAt = new Date();
  const ends: ProcessEnd[] = [];
  const judged: Judged[] = [];
  let dnsRecord = "";
  const inspector = createInspector({ seed, startedAt, dnsRecord: () => dnsRecord });
  const sink = await startSink({
    seed,
    finalTimeoutMs: relayTimeoutMs,
    inspect: inspector.inspect,
  });
  let system: ChaosSystem | undefined;
  try {
    system = await startChaosSystem({
      runDir,
      sink: sink.address,
      onJudged: (each) => judged.push(each),
      onEnd: (end) => ends.push(end),
      onTrouble: onEvent,
      report,
      signal: options.signal,
    });
    ({ dnsRecord } = system);
    const { services, database } = system;
    const memory = watchMemory(services);
    const run = await floodAndHavoc(options, system, startedAt, () => sink.openSessions);
    const settledMs = await settle(options, system, run);
    const endsOfRun = [...ends];
    await sweepSpool(system);
    memory.stop();
    const records = await allRecords(system);
    const { submissions, accepted } = run.flood;
    const seen = { seed, submissions, records, copies: sink.copies, damages: inspector.damages };
    return {
      options,
      ...seen,
      verdict: judge(seen),
      accepted,
      conservation: await database.mails.countOutcomes(),
      faults: run.faults,
      poisonDeaths: run.poisonDeaths,
      ends: endsOfRun,
      judged,
      settledMs,
      maxRssMb: memory.maxRssMb(),
      possibleUnknowns: run.exposed + sink.unfinished,
      hopTroubles: sink.troubles,
      spoolFiles: readdirSync(system.spoolDir).filter((name) => name.includes(".eml")).length,
      logFiles: serviceNames.flatMap((name) =>
        services.processes(name).map((each) => each.logFile),
      ),
      server: system.server,
      durability: system.durability,
      seconds: (Date.now() - startedAt.getTime()) / 1_000,
    };
  } finally {
    await system?.stop();
    await sink.stop();
  }
}

interface Run {
  flood: Flood;
  faults: DoneFault[];
  poisonDeaths: readonly PoisonDeath[];
  watch: ProgressWatch;
  /**
   * Sessions at the next hop that were open when something happened that may leave an outcome
   * unknown.
   */
  readonly exposed: number;
  /** Stops all clients. */
  giveUp: () => Promise<void>;
}

async function floodAndHavoc(
  options: ChaosOptions,
  system: ChaosSystem,
  startedAt: Date,
  openSessions: () => number,
): Promise<Run> {
  const { seed, mails, kills, report, onEvent } = options;
  const giving = new AbortController();
  const signal = AbortSignal.any([options.signal, giving.signal]);
  const watch = watchProgress(system.database);
  const flood = startFlood({
    seed,
    mails,
    startedAt,
    clients: options.clients ?? 6,
    smtp: [system.links["client-ingest"].address, system.links["client-ingest-2"].address],
    source: system.source,
    inbox: system.inserter.db(system.source.db).collection(system.source.collection),
    maxBacklog: options.maxBacklog ?? Math.min(300, Math.max(60, mails / 4)),
    backlog: () => watch.waiting(),
    signal,
  });
  let exposed = 0;
  const poisonDeaths: PoisonDeath[] = [];
  layTripwires(system, (death) => {
    poisonDeaths.push(death);
    if (death.victim === "relay") exposed += openSessions();
    onEvent(`${death.at.toISOString()} poison ${death.victim} (mail ${death.number})`);
  });
  const finished = () => Math.max(0, flood.accepted - watch.waiting());
  const done: DoneFault[] = [];
  const say = () =>
    report(
      "flood",
      `${flood.accepted} of ${mails} mails accepted, ${finished()} at their end, ` +
        `${done.length} of ${kills} faults; waiting: ${watch.text()}`,
    );
  const saying = setInterval(say, 1_000);
  try {
    const faults = await wreakHavoc({
      system,
      schedule: scheduleOf(seed, kills),
      progress: () => finished() / mails,
      onFault: (fault) => {
        done.push(fault);
        if (mayLeaveUnknown(fault.fault)) exposed += openSessions();
        onEvent(`${fault.at.toISOString()} ${fault.name}`);
      },
      signal,
    });
    return {
      flood,
      faults,
      poisonDeaths,
      watch,
      // Poison goes on killing while the system settles.
      get exposed() {
        return exposed;
      },
      giveUp: async () => {
        giving.abort();
        await flood.done;
      },
    };
  } finally {
    clearInterval(saying);
  }
}

/**
 * Waits until all is accepted and nothing waits, or until nothing moves. Returns milliseconds since
 * the last fault was over.
 */
async function settle(
  { report, settleWithinMs = 240_000, signal, mails }: ChaosOptions,
  system: ChaosSystem,
  { flood, watch, giveUp }: Run,
): Promise<number> {
  const startedAt = performance.now();
  const passedMs = () => Math.round(performance.now() - startedAt);
  watch.stop();
  let last = { settled: -1, waiting: -1, atMs: 0 };
  while (passedMs() - last.atMs < settleWithinMs && !signal.aborted) {
    const waiting = await waitingMails(system, watch).catch(() => undefined);
    if (waiting !== undefined && (waiting !== last.waiting || flood.settled !== last.settled)) {
      last = { settled: flood.settled, waiting, atMs: passedMs() };
    }
    const what = waiting === 0 ? "" : `: ${watch.text()}`;
    report(
      "flood",
      `settling: ${flood.accepted} of ${mails} accepted, ${waiting ?? "?"} wait${what}`,
    );
    if (waiting === 0 && flood.settled === mails) break;
    await wait(lookEveryMs);
  }
  await giveUp();
  report("flood", undefined);
  return passedMs();
}

/** Includes mails in the source that are not adopted yet. */
async function waitingMails(system: ChaosSystem, watch: ProgressWatch): Promise<number> {
  const { db, collection } = system.source;
  const inbox = system.observer.db(db).collection(collection);
  return (await inbox.countDocuments({ state: "incoming" })) + (await watch.look());
}

/**
 * A dispatcher that starts removes what dead ones left in the spool: after that nothing may remain.
 */
async function sweepSpool({ services }: ChaosSystem): Promise<void> {
  await services.untilReady();
  for (const nth of services.processes("dispatcher").keys()) {
    services.kill("dispatcher", "SIGTERM", nth);
  }
  await services.untilReady();
}

/** Plans and header blocks are left out: the next hop shows what came of them. */
async function allRecords({ observer, dbName }: ChaosSystem): Promise<MailRecord[]> {
  const documents = observer
    .db(dbName)
    .collection("mails")
    .find({}, { projection: { "enriched.headerBlock": 0 } });
  const records: MailRecord[] = [];
  for await (const document of documents) records.push(mailIn(document));
  return records;
}
