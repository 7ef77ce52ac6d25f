import { join } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import Table from "cli-table3";
import { ServiceLog } from "@rs-agent/kit/processes/service-log.ts";
import type { RunningSystem } from "@rs-agent/kit/system/system.ts";
import { onStage, renderConditions, say, type Conditions } from "./comparison.ts";
import { countCpu } from "./cpu-use.ts";
import { rawMail, startNullSystem } from "./inserted-mails.ts";
import { readOptions } from "./options.ts";
import { databaseText, pidsOf, storePolicy, withoutDns } from "./our-system.ts";
import { openArrivals } from "./smtp-arrivals.ts";
import {
  judge,
  judgementText,
  spreadOf,
  spreadText,
  type Judgement,
  type Spread,
} from "./spread.ts";

/**
 * What the system uses while nothing comes, and what a mail costs that has it to itself: SMTP to SMTP at a
 * low rate, workers without engines. CPU by process, and commands to the database as the services
 * count them. `node bench/src/idle.ts [--rate N] [--seconds N] [--rounds N] [--size BYTES] [--json]`
 */
const options = readOptions({
  /** Mails per second of the second half of each round. */
  rate: 10,
  /** Of each half. */
  seconds: 10,
  rounds: 7,
  size: 4_096,
});
const mostIdleMs = 35;
const mostCommands = 8;
const settleMs = 5_000;

/** One half of a round. */
interface Half {
  /** By process: per second while nothing comes, else per mail. */
  cpuMs: Record<string, number>;
  /** The same of commands, by service. */
  commands: Record<string, number>;
}

interface Figures {
  cpuMs: Spread & Partial<Judgement>;
  cpuMsByPart: Record<string, Spread>;
  commands: Spread & Partial<Judgement>;
  commandsByPart: Record<string, Spread>;
}

interface Report {
  conditions: Conditions;
  perSecond: number;
  idle: Figures;
  perMail: Figures;
}

/** Who asks the database. */
const askers = ["ingest", "dispatcher", "relay"] as const;

/** Where each of them shows its metrics, by its log: it may be ready a moment before it says so. */
async function healthOf(system: RunningSystem): Promise<Record<string, string>> {
  const named = askers.map(async (name) => {
    const log = ServiceLog.fromStart(join(system.logsDir, `${name}.log`));
    for (;;) {
      const served = log.read().find(({ msg }) => msg === "health is served");
      if (served !== undefined) return [name, String(served["http"])] as const;
      await wait(50);
    }
  });
  return Object.fromEntries(await Promise.all(named));
}

const series = /^rs_agent_database_commands_total (\d+)/m;

async function commandsOf(health: Record<string, string>): Promise<Record<string, number>> {
  const counted = Object.entries(health).map(async ([name, address]) => {
    const text = await (await fetch(`http://${address}/metrics`)).text();
    const [, count] = series.exec(text) ?? [];
    return count === undefined ? [] : [[name, Number(count)] as const];
  });
  return Object.fromEntries((await Promise.all(counted)).flat());
}

/** What is used while `work` is done, divided by what it comes to. */
async function measure(
  system: RunningSystem,
  health: Record<string, string>,
  work: () => Promise<number>,
): Promise<Half> {
  const before = await commandsOf(health);
  const cpuUsed = countCpu(() => pidsOf(system));
  const count = await work();
  const cpuMs = cpuUsed(count);
  const after = await commandsOf(health);
  const commands = Object.fromEntries(
    Object.entries(after).map(([name, sum]) => [name, (sum - (before[name] ?? 0)) / count]),
  );
  return { cpuMs, commands };
}

function figuresOf(halves: readonly Half[], mostCpuMs?: number, most?: number): Figures {
  const total = (by: Record<string, number>) => Object.values(by).reduce((sum, n) => sum + n, 0);
  const judged = (values: number[], limit: number | undefined) => ({
    ...spreadOf(values),
    ...(limit === undefined ? {} : judge(values, { most: limit })),
  });
  const byPart = (of: (half: Half) => Record<string, number>) =>
    Object.fromEntries(
      Object.keys(halves[0] === undefined ? {} : of(halves[0])).map((part) => [
        part,
        spreadOf(halves.map((half) => of(half)[part] ?? 0)),
      ]),
    );
  return {
    cpuMs: judged(
      halves.map(({ cpuMs }) => total(cpuMs)),
      mostCpuMs,
    ),
    cpuMsByPart: byPart(({ cpuMs }) => cpuMs),
    commands: judged(
      halves.map(({ commands }) => total(commands)),
      most,
    ),
    commandsByPart: byPart(({ commands }) => commands),
  };
}

const report = await onStage(
  async ({ runDir, sink, signal, keep, conditions }): Promise<Report> => {
    const system = keep(
      await startNullSystem({
        runDir,
        signal,
        nextHop: sink.address,
        counts: { ingest: 1 },
        env: { HEALTH_HTTP: "127.0.0.1:0", ...withoutDns },
        prepare: (mongodb) => storePolicy(mongodb, { virus: true, spam: true }),
      }),
    );
    const health = await healthOf(system);
    const arrivals = await openArrivals(system.smtp, 4, rawMail(options.size));
    const mails = Math.max(1, Math.round(options.rate * options.seconds));
    const arrive = async () => {
      const beganAt = performance.now();
      const expected = sink.count + mails;
      for (let n = 0; n < mails; n += 1) {
        await wait(Math.max(0, beganAt + (n * 1_000) / options.rate - performance.now()));
        arrivals.arrive();
      }
      await arrivals.settled();
      await sink.arrived(expected, 60_000);
      return mails;
    };
    const rest = async () => {
      await wait(options.seconds * 1_000);
      return options.seconds;
    };
    await arrive();
    const idle: Half[] = [];
    const busy: Half[] = [];
    for (let n = 0; n < options.rounds; n += 1) {
      busy.push(await measure(system, health, arrive));
      await wait(settleMs);
      idle.push(await measure(system, health, rest));
      const { cpuMs, commands } = figuresOf(idle.slice(-1));
      const mail = figuresOf(busy.slice(-1));
      say(
        `${n + 1}/${options.rounds} idle ${cpuMs.median.toFixed(1)} ms and ${commands.median.toFixed(1)} commands a second, ` +
          `a mail ${mail.cpuMs.median.toFixed(1)} ms and ${mail.commands.median.toFixed(1)} commands`,
      );
    }
    arrivals.close();
    return {
      conditions: conditions(options.rounds, { database: databaseText(system.mongodb) }),
      perSecond: options.rate,
      idle: figuresOf(idle, mostIdleMs),
      perMail: figuresOf(busy, undefined, mostCommands),
    };
  },
);

function partsText(parts: Record<string, Spread>, digits: number): string {
  return Object.entries(parts)
    .map(([part, spread]) => `${part} ${spreadText(spread, digits)}`)
    .join("\n");
}

function rowsOf(what: string, { cpuMs, cpuMsByPart, commands, commandsByPart }: Figures) {
  const words = ({ target, meets }: Partial<Judgement>) =>
    target === undefined || meets === undefined ? "" : judgementText({ target, meets });
  return [
    [`${what}: CPU ms`, spreadText(cpuMs, 1), partsText(cpuMsByPart, 1), words(cpuMs)],
    [`${what}: commands`, spreadText(commands, 1), partsText(commandsByPart, 1), words(commands)],
  ];
}

function print({ conditions, idle, perMail, perSecond }: Report): void {
  const table = new Table({
    head: ["", "median (min–max)", "of which", ""],
    style: { head: [], border: [] },
  });
  table.push(...rowsOf("idle, a second", idle));
  table.push(...rowsOf(`${perSecond} mails/s, a mail`, perMail));
  process.stdout.write(`${renderConditions(conditions)}\n${table.toString()}\n`);
}

if (options.json) process.stdout.write(`${JSON.stringify(report, undefined, 2)}\n`);
else print(report);
