import { availableParallelism } from "node:os";
import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { bugs, type Bug } from "./kit/bugs.ts";
import { runSchedule, type ScheduleResult } from "./kit/schedule.ts";

const help = `npm run simulate -- [--seeds N] [--from S] [--bug NAME] [--jobs N] [--trace] [--mail ID] [--json]

  --seeds N    how many schedules (1000)
  --from S     the first seed (1)
  --bug NAME   with a mistake put in on purpose; ends with the first seed that finds it
  --jobs N     threads (one for each processor)
  --trace      tells the whole story of each seed, found or not
  --mail ID    tells this mail's story only
  --json       the summary as JSON
`;

/** What one thread runs. */
export interface Share {
  from: number;
  seeds: number;
  /** One in this many seeds is this thread's. */
  step: number;
  bug: string | undefined;
}

/** A seed that broke a promise. */
export interface Found {
  seed: number;
  invariant: string;
  mailId: string | undefined;
  text: string;
}

/** What a thread reports when it is done, and after each seed that broke a promise. */
export interface Tally {
  schedules: number;
  events: number;
  virtualMs: number;
  outcomes: Record<string, number>;
  /** Of everything that happened, whichever thread ran it; equal seeds have equal fingerprints. */
  fingerprint: number;
  found: Found[];
}

/** Runs the seeds that the command line asks for, and returns the exit code. */
export async function simulate(args: string[]): Promise<number> {
  const { values } = parseArgs({
    args,
    options: {
      seeds: { type: "string", default: "1000" },
      from: { type: "string", default: "1" },
      bug: { type: "string" },
      jobs: { type: "string", default: String(availableParallelism()) },
      trace: { type: "boolean", default: false },
      mail: { type: "string" },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
  });
  if (values.help) return print(help, 0);
  const { bug, mail } = values;
  if (bug !== undefined && !(bug in bugs)) {
    return print(`there is no bug ${bug}; there are ${Object.keys(bugs).join(", ")}\n`, 2);
  }
  const [from, seeds, jobs] = [values.from, values.seeds, values.jobs].map(Number);
  if (from === undefined || seeds === undefined || jobs === undefined) return 2;
  if (![from, seeds, jobs].every((number) => Number.isSafeInteger(number) && number > 0)) {
    return print(help, 2);
  }
  if (values.trace || mail !== undefined) return tell({ from, seeds, step: 1, bug }, mail);
  const startedMs = performance.now();
  const tally = await runAll({ from, seeds, step: Math.min(jobs, seeds), bug });
  const perMinute = Math.round((tally.schedules / (performance.now() - startedMs)) * 60_000);
  const clean = tally.found.length === 0;
  const summary = { from, seeds, bug, perMinute, clean, ...tally };
  if (values.json) print(`${JSON.stringify(summary)}\n`, 0);
  else await report(summary, mail);
  return clean ? 0 : 1;
}

function print(text: string, code: number): number {
  process.stdout.write(text);
  return code;
}

/** Runs them one after the other and tells everything. */
async function tell(share: Share, mail: string | undefined): Promise<number> {
  let code = 0;
  for (let seed = share.from; seed < share.from + share.seeds; seed++) {
    const result = await runSchedule({ seed, bug: bugOf(share), isTold: true });
    print(storyOf(result, mail), 0);
    if (result.violation !== undefined) code = 1;
  }
  return code;
}

function storyOf({ seed, violation, story }: ScheduleResult, mail: string | undefined): string {
  const { invariant = "none broken", mailId, text = "" } = violation ?? {};
  return `seed ${seed}: ${invariant} ${mailId ?? ""} ${text}\n${story(mail)}\n`;
}

async function report(
  summary: Tally & { bug: string | undefined; perMinute: number; clean: boolean; from: number },
  mail: string | undefined,
): Promise<void> {
  const { found, bug, perMinute, schedules, events, virtualMs, outcomes } = summary;
  const share = { from: 0, seeds: 0, step: 1, bug };
  for (const { seed, invariant, mailId, text } of found) {
    print(
      `seed ${seed} breaks ${invariant}${mailId === undefined ? "" : ` with ${mailId}`}: ${text}\n`,
      0,
    );
  }
  const [first] = found;
  if (first !== undefined && bug === undefined) {
    const result = await runSchedule({ seed: first.seed, bug: bugOf(share), isTold: true });
    print(`\n${storyOf(result, mail ?? first.mailId?.replace(/-\d+$/, ""))}\n`, 0);
    print(`the whole: npm run simulate -- --from ${first.seed} --seeds 1 --trace\n\n`, 0);
  }
  if (first !== undefined && bug !== undefined) {
    print(`the bug ${bug} was found after ${first.seed - summary.from + 1} seeds\n`, 0);
  }
  const ended = Object.entries(outcomes).map(([outcome, count]) => `${count} ${outcome}`);
  print(
    `${schedules} schedules, ${perMinute} per minute; each ${Math.round(events / schedules)} events in ` +
      `${(virtualMs / schedules / 1_000).toFixed(1)} s of its own time; recipients: ${ended.join(", ")}\n`,
    0,
  );
}

/** Deals the seeds out to threads. With a bug, the first seed that finds it ends all of them. */
async function runAll(share: Share): Promise<Tally> {
  const sum: Tally = {
    schedules: 0,
    events: 0,
    virtualMs: 0,
    outcomes: {},
    fingerprint: 0,
    found: [],
  };
  // A thread of its own costs as much as about ten schedules.
  if (share.step === 1) {
    await runShare(share, (tally) => add(sum, tally));
    return sum;
  }
  const workers = Array.from({ length: share.step }, (_, place) => {
    const own: Share = { ...share, from: share.from + place, seeds: share.seeds - place };
    const worker = new Worker(new URL("./main.ts", import.meta.url), { workerData: own });
    const { promise, resolve, reject } = Promise.withResolvers<undefined>();
    worker.on("message", (tally: Tally) => add(sum, tally));
    worker.on("error", reject);
    worker.on("exit", () => resolve(undefined));
    return { worker, promise };
  });
  await Promise.all(workers.map(({ promise }) => promise));
  sum.found.sort((a, b) => a.seed - b.seed);
  return sum;
}

function add(sum: Tally, part: Tally): void {
  sum.schedules += part.schedules;
  sum.events += part.events;
  sum.virtualMs += part.virtualMs;
  sum.fingerprint ^= part.fingerprint;
  sum.found.push(...part.found);
  for (const [outcome, count] of Object.entries(part.outcomes)) {
    sum.outcomes[outcome] = (sum.outcomes[outcome] ?? 0) + count;
  }
}

/**
 * A thread's share. It reports what it has after every few seeds, so that nothing is lost with it.
 */
export async function runShare(share: Share, say: (tally: Tally) => void): Promise<void> {
  for (let seed = share.from; seed < share.from + share.seeds; seed += share.step) {
    const { violation, events, virtualMs, outcomes, fingerprint } = await runSchedule({
      seed,
      bug: bugOf(share),
    });
    const found = violation === undefined ? [] : [{ seed, ...violation }];
    say({ schedules: 1, events, virtualMs, outcomes, fingerprint, found });
    if (violation !== undefined && share.bug !== undefined) return;
  }
}

function bugOf({ bug }: Pick<Share, "bug">): Bug | undefined {
  return bug === undefined ? undefined : bugs[bug as keyof typeof bugs];
}
