import { spawn } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";
import Table from "cli-table3";
import type { BusFigures } from "./bus.ts";
import { setupMissing, type ComparisonReport } from "./comparison.ts";

/**
 * A few short rounds of the benchmarks that need no other mail server. Fails if even the best round
 * is below half of the target: a result so far off means a bad change, not a noisy machine. `node
 * bench/src/guard.ts`
 */

/** A measured ratio, and its target. */
interface Figure {
  name: string;
  best: number;
  least: number;
}

const ofBus = (output: string) =>
  (JSON.parse(output) as BusFigures[]).map(({ size, ratio }): Figure => {
    return { name: `bus, ${size} B`, best: ratio.max, least: ratio.target.least };
  });

const ofComparison = (bench: string) => (output: string) =>
  (JSON.parse(output) as ComparisonReport).cases.flatMap(({ title, ratios }) =>
    ratios.flatMap(({ against, spread, judgement }): Figure[] => {
      if (judgement === undefined) return [];
      const name = `${bench} against ${against}, ${title}`;
      return [{ name, best: spread.max, least: judgement.target.least }];
    }),
  );

const watched = [
  { bench: "bus", options: ["--workers", "1", "--rounds", "3", "--round-ms", "300"], read: ofBus },
  { bench: "clamd", options: ["--rounds", "3", "--seconds", "0.5"], read: ofComparison("clamd") },
  { bench: "life", options: ["--rounds", "3", "--mails", "300"], read: ofComparison("life") },
];

/** Share of the target: below this the machine is not to blame. */
const part = 0.5;

/** Empty if the machine lacks what the benchmark needs, such as a database fit for measurements. */
async function measured({ bench, options, read }: (typeof watched)[number]): Promise<Figure[]> {
  const script = fileURLToPath(new URL(`${bench}.ts`, import.meta.url));
  const child = spawn(process.execPath, [script, "--json", ...options], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const ended = once(child, "close");
  const output = await text(child.stdout);
  const [code] = (await ended) as [number | null];
  if (code === setupMissing) {
    process.stdout.write(`${bench} is left out: this machine lacks what it takes\n`);
    return [];
  }
  if (code !== 0) throw new Error(`bench ${bench} ended with ${String(code)}`);
  const figures = read(output);
  if (figures.length === 0) throw new Error(`bench ${bench} measured nothing`);
  return figures;
}

const figures: Figure[] = [];
for (const one of watched) figures.push(...(await measured(one)));

const isFar = ({ best, least }: Figure) => !(best >= least * part);
const table = new Table({
  head: ["ratio", "best round", "target", "at least"],
  style: { head: [], border: [] },
});
for (const figure of figures) {
  const floor = (figure.least * part).toFixed(2);
  const words = isFar(figure) ? `${floor}: FAILS` : floor;
  table.push([figure.name, figure.best.toFixed(2), `≥ ${figure.least}`, words]);
}
process.stdout.write(`${table.toString()}\n`);
if (figures.some(isFar)) process.exitCode = 1;
