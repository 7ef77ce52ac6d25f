import type { EngineAddress } from "@rs-agent/shared/engines/engine-address.ts";
import type { Engine } from "@rs-agent/shared/checks/finding.ts";
import type { Entry } from "./files.ts";
import { countOutcomes, exitCodeOf, type Counts, type ScannedFile } from "./outcome.ts";
import type { Streams } from "./program.ts";
import { createProgressBar } from "./progress-bar.ts";

export interface ReportOptions {
  output: "text" | "json";
  /** Leaves out clean files. */
  onlyInfected: boolean;
  summary: boolean;
}

export interface Report {
  add(file: ScannedFile): void;
  /** Writes the end of the report and returns the exit code. */
  end(): number;
}

/** Reports each file as it comes (text, in clamdscan's words), or all in one JSON document. */
export function createReport(
  options: ReportOptions,
  entries: readonly Entry[],
  { stdout, stderr }: Streams,
  about: { address: EngineAddress; engine: Engine },
): Report {
  const startedAt = new Date();
  const files: ScannedFile[] = [];
  const isText = options.output === "text";
  const bar = createProgressBar(isText && stderr.isTTY === true ? stderr : undefined, entries);
  const end = () => {
    bar.end();
    const counts = countOutcomes(files.map(({ outcome }) => outcome));
    if (!isText) stdout.write(`${JSON.stringify(document(files, counts, about, startedAt))}\n`);
    else if (options.summary) stdout.write(summary(counts, startedAt));
    return exitCodeOf(counts);
  };
  const add = (file: ScannedFile) => {
    files.push(file);
    bar.advance(file);
    const isHidden = options.onlyInfected && ["clean", "skipped"].includes(file.outcome.result);
    if (isText && !isHidden) bar.above(() => stdout.write(`${lineOf(file)}\n`));
  };
  return { add, end };
}

/** `/path: OK`, `/path: Name FOUND`, and for other outcomes their words, in clamdscan's manner. */
function lineOf({ path, outcome }: ScannedFile): string {
  return `${printable(path)}: ${words(outcome)}`;
}

function words(outcome: ScannedFile["outcome"]): string {
  switch (outcome.result) {
    case "clean":
      return "OK";
    case "infected":
      return `${outcome.names.map(printable).join(", ")} FOUND`;
    case "not-checked": {
      const detail = outcome.detail === undefined ? "" : `: ${printable(outcome.detail)}`;
      return `NOT CHECKED (${outcome.reason}${detail})`;
    }
    case "error":
      return `${printable(outcome.detail)} ERROR`;
    case "skipped":
      return outcome.detail;
  }
}

/** The name of a file or of a signature must not steer a terminal. */
function printable(text: string): string {
  return text.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}]/gu, (character) => {
    const code = character.codePointAt(0) ?? 0;
    const hex = code.toString(16);
    return code < 0x100 ? `\\x${hex.padStart(2, "0")}` : `\\u{${hex}}`;
  });
}

function summary(counts: Counts, startedAt: Date): string {
  const seconds = (Date.now() - startedAt.getTime()) / 1000;
  const minutes = Math.floor(seconds / 60);
  const scanned = counts.clean + counts.infected;
  const lines = [
    "",
    "----------- SCAN SUMMARY -----------",
    `Scanned files: ${scanned}`,
    `Infected files: ${counts.infected}`,
    ...(counts.notChecked > 0 ? [`Not checked: ${counts.notChecked}`] : []),
    ...(counts.skipped > 0 ? [`Skipped: ${counts.skipped}`] : []),
    ...(counts.errors > 0 ? [`Total errors: ${counts.errors}`] : []),
    `Time: ${seconds.toFixed(3)} sec (${minutes} m ${Math.floor(seconds % 60)} s)`,
    `Start Date: ${startedAt.toISOString()}`,
    `End Date:   ${new Date().toISOString()}`,
    "",
  ];
  return lines.join("\n");
}

function document(
  files: readonly ScannedFile[],
  counts: Counts,
  { address, engine }: { address: EngineAddress; engine: Engine },
  startedAt: Date,
): object {
  return {
    address: address.text,
    engine,
    files: files.map(({ path, outcome, size, ms }) => ({ path, ...outcome, size, ms })),
    summary: { ...counts, ms: Date.now() - startedAt.getTime() },
  };
}
