import { randomInt } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { TerminalError, messageOf } from "@rs-agent/shared/errors.ts";
import { wholeNumber } from "@rs-agent/kit/options.ts";
import { takeOver } from "@rs-agent/kit/processes/leftovers.ts";
import { stopSignal } from "@rs-agent/kit/processes/stop-signal.ts";
import { runChaos } from "./chaos.ts";
import type { ChaosResult } from "./result.ts";

export const usage = `Usage: npm run chaos -- [options]     or: npx rs-agent chaos [options]

Starts a whole private system on this host (two of each service, clamd, spamd, a database),
floods it with mail, and meanwhile kills, stops, drains and cuts off everything at random. Then it
lets the system settle and looks from outside whether every mail met its end. It touches nothing of an
installation. Exit code 0 only if everything holds.

  --mails N   mails to hand in (2000)
  --kills K   faults to cause (60)
  --seed S    determines mails and faults; without it one is drawn, and printed
  --json      the result as one JSON document on standard output
  --keep      keep logs and data even if everything holds
  --help      this text
`;

/** The options as they were given. */
export interface ChaosArguments {
  mails?: string;
  kills?: string;
  seed?: string;
  json?: boolean;
  keep?: boolean;
}

export interface ChaosCommand {
  mails: number;
  kills: number;
  seed: number;
  json: boolean;
  keep: boolean;
}

/** @throws TerminalError CFG_INVALID for an unknown option, or a value that is not a number */
export function parseChaosArguments(args: readonly string[]): ChaosCommand | "help" {
  const options = {
    mails: { type: "string" },
    kills: { type: "string" },
    seed: { type: "string" },
    json: { type: "boolean" },
    keep: { type: "boolean" },
    help: { type: "boolean", short: "h" },
  } as const;
  try {
    const { help, ...given } = parseArgs({ args: [...args], options }).values;
    return help === true ? "help" : chaosCommand(given);
  } catch (error) {
    throw new TerminalError("CFG_INVALID", `${messageOf(error)}\n\n${usage}`, { cause: error });
  }
}

/** @throws TerminalError CFG_INVALID */
export function chaosCommand(given: ChaosArguments): ChaosCommand {
  return {
    mails: wholeNumber("--mails", given.mails ?? "2000"),
    kills: wholeNumber("--kills", given.kills ?? "60"),
    seed: wholeNumber("--seed", given.seed ?? String(randomInt(1, 1_000_000))),
    json: given.json ?? false,
    keep: given.keep ?? false,
  };
}

export interface ChaosSurroundings {
  /** The result. */
  print: (text: string) => void;
  /** What happens meanwhile, one line each. */
  say: (text: string) => void;
}

/** Runs the command and returns its exit code. */
export async function runChaosCommand(
  command: ChaosCommand,
  { print, say }: ChaosSurroundings,
): Promise<number> {
  const runDir = mkdtempSync(join(tmpdir(), "rs-agent-chaos-"));
  const processes = takeOver(join(runDir, "processes"));
  // Whatever ends this process, the others end with it. After a run none is left.
  process.once("exit", () => processes.endAll());
  const signal = stopSignal(() => say("Stopping. Ctrl-C again kills all that was started."));
  say(`chaos: ${command.mails} mails, ${command.kills} faults, --seed ${command.seed}`);
  const said = new Map<string, string>();
  const result = await runChaos({
    ...command,
    runDir,
    signal,
    onEvent: say,
    report: (part, text) => {
      if (text === undefined || said.get(part) === text) return;
      said.set(part, text);
      say(`${part}: ${text}`);
    },
  });
  print(command.json ? JSON.stringify(result, undefined, 2) : textOf(result));
  return result.holds ? 0 : 1;
}

function textOf(result: ChaosResult): string {
  const { kills, poison, maxRssMb, because, folder } = result;
  const list = (counts: Record<string, unknown>) =>
    Object.entries(counts)
      .map(([name, count]) => `${name} ${String(count)}`)
      .join(", ");
  return [
    ...row(
      "seed",
      `${result.seed}: ${result.accepted} mails, ${kills.total} faults, ${result.seconds} s`,
    ),
    ...row("database", `${result.server}; ${result.durability}`),
    ...row("records", list(result.byState)),
    ...row("lost", `${result.lost}`),
    ...row("unscanned", `${result.unscanned}`),
    ...row("duplicates", `${result.duplicates}, of ${result.unknownOutcomes} unknown outcomes`),
    ...row(
      "poison",
      `${poison.dead} of ${poison.mails} mails are dead; killed: ${list(poison.deaths)}`,
    ),
    ...row("settled", `${(result.settledMs / 1_000).toFixed(1)} s after the last fault`),
    ...row("delayed", `${result.delayed} mails, by more than a minute`),
    ...row("rescans", `${result.rescans} checks made again for nothing`),
    ...row("memory, MB", list(maxRssMb)),
    ...row("faults", list(kills.byKind)),
    result.holds ? "It holds." : `It does not hold: ${because.join("; ")}`,
    ...(folder === undefined ? [] : [`stories, logs and data: ${folder}`]),
  ].join("\n");
}

const labelWidth = 12;
const screenWidth = 80;

/** A label and its text, broken between words at the end of a terminal of 80 columns. */
function row(label: string, text: string): string[] {
  const lines: string[] = [];
  let line = "";
  for (const word of text.split(" ")) {
    if (line !== "" && labelWidth + line.length + 1 + word.length > screenWidth) {
      lines.push(line);
      line = word;
    } else {
      line = line === "" ? word : `${line} ${word}`;
    }
  }
  return [...lines, line].map((each, at) => (at === 0 ? label : "").padEnd(labelWidth) + each);
}
