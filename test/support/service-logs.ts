import { existsSync, readFileSync } from "node:fs";

/** A line of a service's log, as pino writes it. */
export interface LogLine {
  msg: string;
  /** Epoch milliseconds. */
  time: number;
  [field: string]: unknown;
}

/** All lines of a log file; those that are not JSON, such as a half-written last one, are left out. */
export function parseLog(file: string | undefined): LogLine[] {
  if (file === undefined || !existsSync(file)) return [];
  return readFileSync(file, "utf8")
    .split("\n")
    .flatMap((line) => {
      try {
        return [JSON.parse(line) as LogLine];
      } catch {
        return [];
      }
    });
}
