import { mkdtempSync, rmSync } from "node:fs";
import { availableParallelism, cpus, loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import Table from "cli-table3";
import { messageOf, TerminalError } from "@rs-agent/shared/errors.ts";
import { exit } from "@rs-agent/shared/lifecycle.ts";
import { interrupted, stopSignal } from "@rs-agent/kit/processes/stop-signal.ts";
import { mailSubject, type MailServer } from "./mail-server.ts";
import { readOptions } from "./options.ts";
import { folderOf } from "./peers/server-process.ts";
import { interleave, ratioOf, type Ratio, type Subject, type SubjectFigures } from "./rounds.ts";
import { startSmtpSink, type SmtpSink } from "./smtp-sink.ts";
import { judge, judgementText, spreadText, type AtLeast, type Judgement } from "./spread.ts";

/** The ratio to another subject that ours must reach. */
export interface RatioTarget {
  against: string;
  least: number;
}

/** One table: ours next to others under one condition. */
export interface ComparisonCase {
  /** `4 KB` */
  title: string;
  figures: SubjectFigures[];
  ratios: (Ratio & { judgement?: Judgement<AtLeast> })[];
}

export interface ComparisonReport {
  conditions: Conditions;
  cases: ComparisonCase[];
}

/** What a reader must know to understand the figures. */
export interface Conditions {
  machine: string;
  node: string;
  /** Load average of the last minute, before and after: other work makes figures worse. */
  load: { before: number; after: number };
  rounds: number;
  about: Record<string, string>;
}

export interface ComparisonOptions {
  rounds: number;
  roundMs: number;
  sessions: number;
  sizes: number[];
  json: boolean;
}

/** `--rounds N --seconds N --connections N --size BYTES[,BYTES] --json` */
export function comparisonOptions(defaults: {
  sizes: number[];
  seconds: number;
  connections?: number;
}): ComparisonOptions {
  const { sizes: size, seconds, connections = 32 } = defaults;
  const options = readOptions({ rounds: 7, seconds, connections, size });
  return {
    rounds: options.rounds,
    roundMs: options.seconds * 1_000,
    sessions: options.connections,
    sizes: options.size,
    json: options.json,
  };
}

/**
 * The exit code if the machine lacks what the benchmark measures or needs (sysexits.h:
 * EX_UNAVAILABLE).
 */
export const setupMissing = 69;

/**
 * What a comparison runs in: a folder of its own, the sink, and a way to stop all that it started.
 */
export interface Stage {
  runDir: string;
  sink: SmtpSink;
  /** Aborts at Ctrl-C: then nothing more is started. */
  signal: AbortSignal;
  /** Notes what must be stopped in the end; the last started is stopped first. */
  keep: <T extends { stop(): Promise<void> }>(started: T) => T;
  /** The conditions since the stage was opened. */
  conditions: (rounds: number, about: Record<string, string>) => Conditions;
}

/** Runs `work` and ends all that it started, whatever happens, even Ctrl-C. */
export async function onStage<T>(work: (stage: Stage) => Promise<T>): Promise<T> {
  const before = loadavg()[0] ?? 0;
  const runDir = mkdtempSync(join(tmpdir(), "rs-agent-bench-"));
  // The peers' users must pass through it.
  await folderOf(runDir);
  const started: { stop(): Promise<void> }[] = [];
  const signal = stopSignal(() => say("stopping"));
  const stopped = new Promise<never>((_, reject) => {
    signal.addEventListener("abort", () => reject(new Error("stopped")));
  });
  stopped.catch(() => undefined);
  const sink = await startSmtpSink();
  const working = work({
    runDir,
    sink,
    signal,
    keep: (one) => {
      started.unshift(one);
      return one;
    },
    conditions: (rounds, about) => {
      const load = { before, after: loadavg()[0] ?? 0 };
      return { ...machine(), load, rounds, about };
    },
  });
  let exitCode = interrupted;
  try {
    return await Promise.race([working, stopped]);
  } catch (error) {
    if (error instanceof TerminalError && error.code === "SETUP_MISSING") exitCode = setupMissing;
    else if (!signal.aborted) throw error;
    say(messageOf(error));
  } finally {
    for (const one of started) await one.stop();
    sink.stop();
    rmSync(runDir, { recursive: true, force: true });
  }
  // The work may still be waiting for something; servers that were being started end with this
  // process.
  return exit(exitCode);
}

/** Compares servers that take mail, for each size of mail. */
export async function compareServers(
  stage: Stage,
  servers: readonly MailServer[],
  options: ComparisonOptions,
  targets: readonly RatioTarget[],
  more: (bytes: number) => Promise<Subject[]> = () => Promise.resolve([]),
): Promise<ComparisonReport> {
  const { sink } = stage;
  const { roundMs, sessions, rounds } = options;
  const cases: ComparisonCase[] = [];
  for (const bytes of options.sizes) {
    const subjects: Subject[] = [];
    for (const server of servers) {
      subjects.push(await mailSubject(server, { sink, bytes, sessions, roundMs }));
    }
    subjects.push(...(await more(bytes)));
    const figures = await interleave(subjects, rounds, say);
    cases.push(caseOf(sizeText(bytes), figures, targets));
  }
  const about = Object.fromEntries(servers.map(({ name, about: text }) => [name, text]));
  return { conditions: stage.conditions(rounds, about), cases };
}

/** Ours is the subject of that name; if it is missing, nothing is judged. */
export function caseOf(
  title: string,
  figures: SubjectFigures[],
  targets: readonly RatioTarget[],
): ComparisonCase {
  const ours = figures.find(({ name }) => name === "ours");
  const others = figures.filter((one) => one !== ours);
  const ratios = (ours === undefined ? [] : others).map((other) => {
    const ratio = ratioOf(ours as SubjectFigures, other);
    const target = targets.find(({ against }) => against === other.name);
    if (target === undefined) return ratio;
    return { ...ratio, judgement: judge(ratio.values, { least: target.least }) };
  });
  return { title, figures, ratios };
}

function machine(): { machine: string; node: string } {
  const model = cpus()[0]?.model.trim() ?? "unknown processor";
  return { machine: `${availableParallelism()} cores (${model})`, node: process.version };
}

export function say(text: string): void {
  process.stderr.write(`${text}\n`);
}

export function sizeText(bytes: number): string {
  const rounded = (value: number) => Math.round(value * 10) / 10;
  if (bytes >= 1024 ** 2) return `${rounded(bytes / 1024 ** 2)} MB`;
  return bytes >= 1024 ? `${rounded(bytes / 1024)} KB` : `${bytes} B`;
}

/** Prints a table for people or, with `--json`, data. */
export function printReport(report: ComparisonReport, json: boolean): void {
  const text = json ? JSON.stringify(report, undefined, 2) : renderReport(report);
  process.stdout.write(`${text}\n`);
}

function renderReport({ conditions, cases }: ComparisonReport): string {
  return [renderConditions(conditions), ...cases.map(renderCase)].join("\n");
}

export function renderConditions({ machine, node, load, rounds, about }: Conditions): string {
  const lines = Object.entries(about).map(([name, text]) => `${name}: ${text}`);
  const loads = `load average ${load.before.toFixed(1)} before, ${load.after.toFixed(1)} after`;
  return [`${machine}, Node ${node}, ${rounds} rounds, ${loads}`, ...lines].join("\n");
}

function renderCase({ title, figures, ratios }: ComparisonCase): string {
  const table = new Table({
    head: [title, "per second: median (min–max)", "CPU ms per mail", "of which"],
    style: { head: [], border: [] },
  });
  for (const { name, perSecond, cpuMs, cpuMsByPart } of figures) {
    const parts = Object.entries(cpuMsByPart).map(([part, ms]) => `${part} ${ms.toFixed(2)}`);
    table.push([name, spreadText(perSecond, 1), spreadText(cpuMs, 2), parts.join("\n")]);
  }
  return [table.toString(), ...ratios.map(ratioText)].join("\n");
}

function ratioText({
  against,
  spread,
  interval,
  judgement,
}: ComparisonCase["ratios"][number]): string {
  const lower = interval === undefined ? "too few rounds" : interval.lower.toFixed(2);
  const end = `lower end of the 95 % interval ${lower}`;
  const words = judgement === undefined ? "" : `: ${judgementText(judgement)}`;
  return `ours / ${against} = ${spreadText(spread, 2)}, ${end}${words}`;
}
