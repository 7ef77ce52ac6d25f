import { isTransient } from "@rs-agent/shared/checks/finding.ts";
import type { VirusFinding } from "@rs-agent/shared/checks/virus.ts";

/** Exit codes of `clamav-cli`, the first two as clamdscan(1) has them. */
export const exitCodes = { clean: 0, found: 1, error: 2, notChecked: 3 } as const;

/** What became of one file. `skipped`: nobody could scan it, or it is empty. */
export type FileOutcome =
  | { result: "clean" }
  | { result: "infected"; names: readonly string[] }
  | { result: "not-checked"; reason: string; detail?: string }
  | { result: "error"; detail: string }
  | { result: "skipped"; detail: string };

export interface ScannedFile {
  path: string;
  outcome: FileOutcome;
  /** Bytes. */
  size?: number;
  ms: number;
}

/**
 * A finding in the CLI's words: a reason that lies in the file is "not checked", any other an
 * error.
 */
export function outcomeOf(finding: VirusFinding): FileOutcome {
  switch (finding.kind) {
    case "clean":
      return { result: "clean" };
    case "infected":
      return { result: "infected", names: finding.names };
    case "unchecked": {
      const { reason, detail } = finding;
      if (isTransient(reason)) return { result: "error", detail: detail ?? reason };
      return { result: "not-checked", reason, ...(detail === undefined ? {} : { detail }) };
    }
  }
}

export interface Counts {
  clean: number;
  infected: number;
  notChecked: number;
  errors: number;
  skipped: number;
}

export function countOutcomes(outcomes: readonly FileOutcome[]): Counts {
  const of = (result: FileOutcome["result"]) =>
    outcomes.filter((outcome) => outcome.result === result).length;
  return {
    clean: of("clean"),
    infected: of("infected"),
    notChecked: of("not-checked"),
    errors: of("error"),
    skipped: of("skipped"),
  };
}

/** The worst that happened: found before error before not checked. */
export function exitCodeOf(counts: Counts): number {
  if (counts.infected > 0) return exitCodes.found;
  if (counts.errors > 0) return exitCodes.error;
  return counts.notChecked > 0 ? exitCodes.notChecked : exitCodes.clean;
}
