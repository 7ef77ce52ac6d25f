import { exitCodes } from "@rs-agent/shared/lifecycle.ts";
import type { Conservation } from "@rs-agent/shared/store/mails.ts";
import type { ProcessEnd } from "@rs-agent/kit/processes/service-process.ts";
import type { ServiceName } from "@rs-agent/kit/system/service-names.ts";
import type { DoneFault } from "./faults/havoc.ts";
import type { PoisonDeath } from "./faults/tripwires.ts";
import { findingKinds, type Findings, type Seen } from "./judgement/findings.ts";
import { numberOfMessageId } from "./mails/mail-bytes.ts";
import type { Judged } from "./parts/spam-engine-process.ts";
import { engineVersion } from "./parts/spam-engine-version.ts";

/** The result of a run, as `--json` prints it. */
export interface ChaosResult {
  seed: number;
  /** How many mails and faults were asked for. */
  mails: number;
  faults: number;
  /** Which MongoDB, and what an acknowledged write to it survives. */
  server: string;
  durability: string;
  /** Mails that got a 250, or were inserted. */
  accepted: number;
  /** I1 in recipients, as the store counts them. */
  conservation: Conservation;
  /** Records by their last state; our own reports separately. */
  byState: Record<string, number>;
  lost: number;
  /** Copies beyond the first at the next hop, recipient by recipient. */
  duplicates: number;
  unknownOutcomes: number;
  /** Attempts that ended unknown, and the most that could have, by what the next hop saw. */
  unknownAttempts: { seen: number; possible: number };
  unscanned: number;
  /** Everything that is not as it should be, by kind, including `lost` and `unscanned`. */
  findings: Record<string, number>;
  kills: { total: number; byKind: Record<string, number> };
  /** Poisoned mails, those of them that are dead letters, and how often each victim was killed. */
  poison: { mails: number; dead: number; deaths: Record<string, number>; mostOfOneMail: number };
  /** From the end of the last fault until every mail had met its end. */
  settledMs: number;
  /** Resident memory, MB: the most that any process of each service had. */
  maxRssMb: Record<ServiceName, number>;
  /** Submissions without a 250, and the mails that resulted from them (0, 1 or more each). */
  withoutReply: { submissions: number; mails: number };
  /** Spam verdicts by engine: SpamAssassin's, and those of our engine that speaks its protocol. */
  spamVerdicts: { spamd: number; ours: number };
  /** Checks that our engine repeated for a mail that it had already judged. */
  rescans: number;
  /** Mails that took longer than a minute. */
  delayed: number;
  /** What the next hop did to mail. */
  hopTroubles: Record<string, number>;
  /** Drains that were asked for, by exit code. */
  drains: Record<string, number>;
  /** Processes that ended because of a bug. */
  bugs: string[];
  /** Files left in the spool at the end. */
  spoolFiles: number;
  seconds: number;
  holds: boolean;
  /** Why it does not hold, in words. */
  because: string[];
  /** The folder of logs and stories; absent if all is well. */
  folder?: string;
}

/** All that a run has shown. */
export interface Observed extends Seen {
  options: { mails: number; kills: number; seed: number; signal: AbortSignal };
  verdict: Findings;
  accepted: number;
  conservation: Conservation;
  faults: readonly DoneFault[];
  poisonDeaths: readonly PoisonDeath[];
  /** Ends of service processes until everything had settled. */
  ends: readonly ProcessEnd[];
  /** The checks that our spam engine answered. */
  judged: readonly Judged[];
  settledMs: number;
  maxRssMb: Record<ServiceName, number>;
  /** Transactions that could end unknown, by what the next hop saw. */
  possibleUnknowns: number;
  hopTroubles: ReadonlyMap<string, number>;
  spoolFiles: number;
  logFiles: readonly string[];
  server: string;
  durability: string;
  seconds: number;
}

/** The smallest share of all mail that SpamAssassin must judge. */
const leastSpamdShare = 0.15;
/**
 * No process may ever need more: MAX_HELD_BYTES, RELAY_HELD_BYTES and what Node takes for itself.
 */
const mostRssMb = 600;
const delayedAfterMs = 60_000;

export function resultOf(observed: Observed): ChaosResult {
  const { options, verdict, conservation, spoolFiles } = observed;
  const roots = observed.records.filter(({ origin }) => origin.via !== "dsn");
  const findings = Object.fromEntries(
    findingKinds.map((kind) => [
      kind,
      verdict.findings.filter((each) => each.kind === kind).length,
    ]),
  );
  const result = {
    seed: options.seed,
    mails: options.mails,
    faults: options.kills,
    server: observed.server,
    durability: observed.durability,
    accepted: observed.accepted,
    conservation,
    byState: countsOf(
      observed.records.map(
        ({ origin, state }) => `${origin.via === "dsn" ? "report " : ""}${state}`,
      ),
    ),
    lost: findings.lost ?? 0,
    duplicates: verdict.duplicates,
    unknownOutcomes: verdict.unknownOutcomes,
    unknownAttempts: { seen: verdict.unknownAttempts, possible: observed.possibleUnknowns },
    unscanned: findings.unscanned ?? 0,
    findings,
    kills: {
      total: observed.faults.length,
      byKind: countsOf(observed.faults.map(({ name }) => name)),
    },
    poison: poisonOf(observed),
    settledMs: observed.settledMs,
    maxRssMb: observed.maxRssMb,
    withoutReply: {
      submissions: observed.submissions.reduce((sum, { unheard }) => sum + unheard, 0),
      mails: verdict.surplusMails,
    },
    spamVerdicts: spamVerdictsOf(observed),
    rescans: rescansOf(observed),
    delayed: roots.filter(
      ({ receivedAt, finalAt }) =>
        finalAt !== undefined && finalAt.getTime() - receivedAt.getTime() > delayedAfterMs,
    ).length,
    hopTroubles: Object.fromEntries(observed.hopTroubles),
    drains: drainsOf(observed),
    bugs: bugsOf(observed),
    spoolFiles,
    seconds: Math.round(observed.seconds),
  };
  const because = reasonsAgainst(result, options.signal.aborted);
  return { ...result, holds: because.length === 0, because };
}

function reasonsAgainst(
  result: Omit<ChaosResult, "holds" | "because">,
  wasStopped: boolean,
): string[] {
  const { conservation, duplicates, unknownOutcomes, spamVerdicts, bugs, maxRssMb } = result;
  const judgedBySpamd = spamVerdicts.spamd / (spamVerdicts.spamd + spamVerdicts.ours);
  const reasons: [boolean, string][] = [
    ...Object.entries(result.findings).map(([kind, count]): [boolean, string] => [
      count > 0,
      `${count} × ${kind}`,
    ]),
    [wasStopped, "it was stopped before its end"],
    [result.accepted < result.mails, `${result.mails - result.accepted} mails were never accepted`],
    [result.kills.total < result.faults, `only ${result.kills.total} faults were done`],
    [!conservation.holds || conservation.open > 0, "the store's own count does not come out (I1)"],
    [duplicates > unknownOutcomes, "more duplicates than unknown outcomes"],
    [bugs.length > 0, `processes ended by themselves: ${bugs.join(", ")}`],
    [result.spoolFiles > 0, `${result.spoolFiles} files are left in the spool`],
    [
      judgedBySpamd < leastSpamdShare,
      `SpamAssassin judged ${Math.round(judgedBySpamd * 100)} % only`,
    ],
    [
      Math.max(...Object.values(maxRssMb)) > mostRssMb,
      `a process had more than ${mostRssMb} MB resident`,
    ],
  ];
  return reasons.flatMap(([isSo, text]) => (isSo ? [text] : []));
}

function poisonOf({ submissions, records, seed, poisonDeaths }: Observed): ChaosResult["poison"] {
  const planted = new Set(
    submissions.flatMap(({ mail }) => (mail.kind === "poison" ? [mail.number] : [])),
  );
  const dead = records.filter(({ state, header }) => {
    const number = numberOfMessageId(header?.messageId ?? "", seed);
    return state === "dead" && number !== undefined && planted.has(number);
  });
  const perMail = countsOf(poisonDeaths.map(({ number }) => String(number)));
  return {
    mails: planted.size,
    dead: dead.length,
    deaths: countsOf(poisonDeaths.map(({ victim }) => victim)),
    mostOfOneMail: Math.max(0, ...Object.values(perMail)),
  };
}

/** Where the spam verdicts come from: a spam-worker's own spamd, or one behind our engine. */
function spamVerdictsOf({ records, judged }: Observed): ChaosResult["spamVerdicts"] {
  const passedOn = new Set(judged.filter(({ judge }) => judge === "spamd").map(rootIdOf));
  const checked = records.filter(({ verdicts }) => verdicts.spam?.engine !== undefined);
  const spamd = checked.filter(
    ({ _id, parentId, verdicts }) =>
      verdicts.spam?.engine?.version !== engineVersion || passedOn.has(parentId ?? _id),
  ).length;
  return { spamd, ours: checked.length - spamd };
}

function rootIdOf({ mailId }: Judged): string {
  return mailId;
}

/** The children of a split are each checked, under the id of their parent. */
function rescansOf({ records, judged }: Observed): number {
  const due = Map.groupBy(
    records.filter(({ state }) => state !== "split"),
    ({ _id, parentId }) => parentId ?? _id,
  );
  return [...Map.groupBy(judged, rootIdOf)].reduce(
    (sum, [id, checks]) => sum + Math.max(0, checks.length - (due.get(id)?.length ?? 0)),
    0,
  );
}

function drainsOf({ faults, ends }: Observed): Record<string, number> {
  const drained = drainedPids(faults);
  const codes = ends.flatMap(({ pid, exitCode, signal }) =>
    pid !== undefined && drained.has(pid) ? [signal ?? `exit code ${exitCode ?? "?"}`] : [],
  );
  return countsOf(codes);
}

/** Ends that nobody asked for; a process that starts while the database is away may give up. */
function bugsOf({ faults, ends }: Observed): string[] {
  const drained = drainedPids(faults);
  return ends.flatMap(({ name, pid, exitCode, signal, wasReady }) => {
    const wasAskedFor =
      signal === "SIGKILL" ||
      (pid !== undefined && drained.has(pid) && exitCode !== exitCodes.bug) ||
      (!wasReady && exitCode === 1);
    return wasAskedFor ? [] : [`${name} (${signal ?? `exit code ${exitCode ?? "?"}`})`];
  });
}

function drainedPids(faults: readonly DoneFault[]): Set<number> {
  return new Set(
    faults.flatMap(({ fault, pid }) => (fault.kind === "drain" && pid !== undefined ? [pid] : [])),
  );
}

function countsOf(names: readonly string[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const name of [...names].sort()) counts[name] = (counts[name] ?? 0) + 1;
  return counts;
}
