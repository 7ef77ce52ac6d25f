import { randomInt } from "node:crypto";
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { TerminalError, messageOf } from "@rs-agent/shared/errors.ts";
import { takeOver } from "@rs-agent/start/leftovers.ts";
import { stopSignal } from "@rs-agent/start/stop-signal.ts";
import { runChaos } from "./chaos.ts";
import type { ChaosResult } from "./result.ts";

export const usage = `Usage: npm run chaos -- [options]     or: rs-agent chaos [options]

Starts a whole private system on this host (two of each service, clamd, spamd, a database),
floods it with mail and meanwhile kills, stops, drains and cuts off everything at random. Then it
lets the system settle and looks from outside whether every mail met its end. Nothing of an
installation is touched. Exit code 0 only if everything holds.

  --mails N   mails that are handed in (2000)
  --kills K   faults (60)
  --seed S    determines mails and faults; without it one is drawn, and printed
  --json      the result as one JSON document on standard output
  --keep      keep logs and data also where everything holds
  --help      this text
`;

export interface ChaosCommand {
  mails: number;
  kills: number;
  seed: number;
  json: boolean;
  keep: boolean;
  help: boolean;
}

/** @throws TerminalError CFG_INVALID for an option that there is not, or that is no number */
export function parseChaosCommand(args: readonly string[]): ChaosCommand {
  const options = {
    mails: { type: "string", default: "2000" },
    kills: { type: "string", default: "60" },
    seed: { type: "string" },
    json: { type: "boolean", default: false },
    keep: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  } as const;
  try {
    const { values } = parseArgs({ args: [...args], options, allowPositionals: false });
    return {
      ...values,
      mails: wholeNumber("mails", values.mails),
      kills: wholeNumber("kills", values.kills),
      seed: values.seed === undefined ? randomInt(1, 1_000_000) : wholeNumber("seed", values.seed),
    };
  } catch (error) {
    throw new TerminalError("CFG_INVALID", `${messageOf(error)}\n\n${usage}`, { cause: error });
  }
}

function wholeNumber(name: string, text: string): number {
  if (/^[1-9]\d{0,8}$/.test(text)) return Number(text);
  throw new Error(`--${name} must be a whole number above 0, not ${text}`);
}

export interface ChaosSurroundings {
  /** The result. */
  print: (text: string) => void;
  /** What happens meanwhile, a line each. */
  say: (text: string) => void;
}

/** Runs the command; its exit code. */
export async function runChaosCommand(
  command: ChaosCommand,
  { print, say }: ChaosSurroundings,
): Promise<number> {
  if (command.help) {
    print(usage);
    return 0;
  }
  const runDir = mkdtempSync(join(tmpdir(), "rs-agent-chaos-"));
  const signal = stopSignal(
    () => say("Stopping. Ctrl-C again kills everything that was started."),
    () => takeOver(join(runDir, "processes")).endAll(),
  );
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
  const { kills, maxRssMb, because, folder } = result;
  const list = (counts: Record<string, unknown>) =>
    Object.entries(counts)
      .map(([name, count]) => `${name} ${String(count)}`)
      .join(", ");
  return [
    `seed ${result.seed}: ${result.accepted} mails accepted, ${kills.total} faults, ${result.seconds} s`,
    `database: ${result.server}; ${result.durability}`,
    `records: ${list(result.byState)}`,
    `lost ${result.lost}, unscanned ${result.unscanned}, duplicates ${result.duplicates} of ` +
      `${result.unknownOutcomes} unknown outcomes`,
    `settled in ${(result.settledMs / 1_000).toFixed(1)} s; delayed over a minute: ${result.delayed}; ` +
      `checked again for nothing: ${result.rescans}`,
    `memory, MB: ${list(maxRssMb)}`,
    `faults: ${list(kills.byKind)}`,
    result.holds ? "It holds." : `It does not hold: ${because.join("; ")}`,
    ...(folder === undefined ? [] : [`stories, logs and data: ${folder}`]),
  ].join("\n");
}
