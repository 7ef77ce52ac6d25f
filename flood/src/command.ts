import { writeFileSync } from "node:fs";
import { messageOf, TerminalError } from "@rs-agent/shared/errors.ts";
import { interrupted, stopSignal } from "@rs-agent/kit/processes/stop-signal.ts";
import { runFlood } from "./flood.ts";
import { floodOptions, type FloodArguments, type FloodSettings } from "./options.ts";
import { reportPage } from "./report/page.ts";
import { createLiveLine, type LiveOutput } from "./report/live-line.ts";
import { reportText } from "./report/text.ts";

export type { FloodArguments, FloodSettings } from "./options.ts";
export { processesOfStart } from "./measure/processes.ts";

export interface FloodOutput {
  /** The result. */
  print: (text: string) => void;
  /** The line that shows progress; never the result. */
  live: LiveOutput;
}

/**
 * Runs the command and returns its exit code: 0, 1 if `--check` does not hold or the records cannot
 * be read, 130 after Ctrl-C.
 * @throws TerminalError CFG_INVALID, CFG_TARGET
 */
export async function runFloodCommand(
  given: FloodArguments,
  settings: FloodSettings,
  { print, live }: FloodOutput,
): Promise<number> {
  const options = floodOptions(given, settings);
  // Tried now, because at the end a failure would lose the run. What the file holds stays until
  // then.
  if (given.report !== undefined) writeReport(given.report, "", "a");
  const line = createLiveLine(live);
  const signal = stopSignal(() => line.say("Stopping with what was seen so far."));
  const result = await runFlood(options, {
    signal,
    onSecond: (standing) => line.show(standing),
    say: (text) => line.say(text),
  });
  if (given.report !== undefined) writeReport(given.report, reportPage(result));
  print(given.json === true ? JSON.stringify(result, undefined, 2) : reportText(result));
  if (signal.aborted) return interrupted;
  return result.check?.holds === false || result.unread !== undefined ? 1 : 0;
}

function writeReport(file: string, html: string, flag: "a" | "w" = "w"): void {
  try {
    writeFileSync(file, html, { flag });
  } catch (error) {
    const text = `--report ${file}: ${messageOf(error)}`;
    throw new TerminalError("CFG_INVALID", text, { cause: error });
  }
}
